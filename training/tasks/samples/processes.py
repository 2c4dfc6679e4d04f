"""Processes that read samples: Python code in several threads takes turns, and shares one set of random generators."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from multiprocessing.util import Finalize
from queue import SimpleQueue
from typing import Any

import torch
import torch.multiprocessing as multiprocessing
from torch.multiprocessing.reductions import reduce_tensor

from ...common.errors import TrainingFailed
from ...common.program.threads import say_without
from .sources import ItemSource

logger = logging.getLogger("slipway")

_PARENT_SECONDS = 0.5
"""How often a process looks whether the one that trains is still there: a killed one cannot tell."""

_LAST_SAMPLE_SECONDS = 5.0
"""How long a process may take for the samples that it is at when nobody wants more."""

_LEAST_SHARED_BYTES = 1 << 18
"""Of a tensor that is handed over in shared memory; for a smaller one that costs more than a copy."""

_copies = False
"""In a process that reads: whether a tensor of any size is sent as a copy."""


class SampleProcesses:
    """Processes, started as those of torch's `DataLoader` are: forked on Linux, which needs no data set that can be pickled."""

    def __init__(self, sources: Mapping[str, ItemSource], count: int) -> None:
        context = multiprocessing.get_context()
        self._free: SimpleQueue[Connection] = SimpleQueue()
        self._is_copied = False
        """Whether batches are sent as copies, since shared memory failed."""
        processes: list[Any] = []
        connections: list[Connection] = []
        self.close = Finalize(self, _end, args=(processes, connections), exitpriority=1)
        """End the processes; Python does so too before it waits for its processes at the end."""
        # Started here and not when first wanted: a process must not be forked from a thread.
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, dict(sources)), name="slipway-samples")
            try:
                process.start()
            except OSError:  # a limit of processes or of memory
                self.close()
                raise
            # No other process has the other end, so that the death of this one is seen.
            theirs.close()
            processes.append(process)
            connections.append(ours)
        for connection in connections:
            try:
                connection.recv()
            except (EOFError, OSError):
                self.close()
                raise TrainingFailed(
                    f"processes that read samples cannot be started ({context.get_start_method()}); a script that is imported "
                    "again in each of them calls train() below if __name__ == '__main__':, or --num-workers 0 reads in the "
                    "process that trains"
                ) from None
            self._free.put(connection)

    def fetch(self, split: str, indices: Sequence[int], keys: Sequence[int]) -> Any:
        """Return collated samples, made in one of the processes. What a sample raises is raised here."""
        wants_copies = self._is_copied
        reply = self._ask(split, indices, keys, wants_copies)
        try:
            is_batch, is_copied, found = ForkingPickler.loads(reply)
        except (OSError, RuntimeError):  # no further file can be opened, or mapped
            if wants_copies:
                raise
            reply = self._ask(split, indices, keys, wants_copies=True)
            is_batch, is_copied, found = ForkingPickler.loads(reply)
        if is_copied and not self._is_copied:
            self._is_copied = True
            logger.warning(
                "batches cannot be handed over in shared memory (/dev/shm is full or absent, too many open files, or a limit "
                "of memory): they are copied, which is slower; make room there, raise `ulimit -n`, or give --num-workers 0"
            )
        if is_batch:
            return found
        raise found

    def _ask(self, split: str, indices: Sequence[int], keys: Sequence[int], wants_copies: bool) -> bytes:
        connection = self._free.get()
        try:
            connection.send((split, indices, keys, wants_copies))
            return connection.recv_bytes()
        except (EOFError, OSError):
            connection.close()
            raise TrainingFailed(
                "a process that reads samples was ended from outside, perhaps for want of memory; --num-workers with fewer "
                "processes needs less, 0 reads in the process that trains"
            ) from None
        except BaseException:
            # An answer that nobody took must not be taken for the next one.
            connection.close()
            raise
        finally:
            self._free.put(connection)


def _end(processes: Sequence[Any], connections: Sequence[Connection]) -> None:
    for connection in connections:
        with suppress(OSError):
            connection.send(None)
        connection.close()
    last = time.monotonic() + _LAST_SAMPLE_SECONDS
    for process in processes:
        process.join(max(0.0, last - time.monotonic()))
        process.kill()
        process.join()


def start_processes(sources: Mapping[str, ItemSource], count: int) -> SampleProcesses | None:
    """Return processes that read the sources; None, which is said, where the process that trains has to read them."""
    where = "samples are read in the process that trains"
    if why := _why_none(sources):
        logger.warning("%s, as the data set cannot be sent to another: %s", where, why)
        return None
    try:
        return SampleProcesses(sources, count)
    except OSError:
        say_without(where)
        return None


def _why_none(sources: Mapping[str, ItemSource]) -> str | None:
    """Return why the sources cannot be read in other processes; None: they can."""
    if multiprocessing.get_context().get_start_method() == "fork":
        return None
    try:
        ForkingPickler.dumps(dict(sources))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        return " ".join(str(error).split())
    return None


def _serve(connection: Connection, sources: Mapping[str, ItemSource]) -> None:
    """Read what is asked for, until nothing is."""
    # The process that trains decides when to stop.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_training, daemon=True).start()
    ForkingPickler.register(torch.Tensor, _reduce)
    connection.send("ready")
    with suppress(EOFError, ConnectionError):
        while (wanted := connection.recv()) is not None:
            split, indices, keys, is_copied = wanted
            try:
                reply = _packed(sources[split].fetch(indices, keys), is_copied)
            except Exception as error:
                reply = ForkingPickler.dumps((False, is_copied, _as_it_can_be_sent(error)))
            connection.send_bytes(reply)


def _packed(batch: Any, is_copied: bool) -> Any:
    """Return a batch as it is sent: its large tensors in shared memory, or copied where that fails or is not wanted."""
    global _copies
    _copies = is_copied
    try:
        return ForkingPickler.dumps((True, is_copied, batch))
    except (OSError, RuntimeError):  # no room, or no further file
        if is_copied:
            raise
        return _packed(batch, is_copied=True)


def _as_it_can_be_sent(error: Exception) -> Exception:
    error.add_note("".join(traceback.format_exception(error)))
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_training() -> None:
    """End when the process that trains does. With a fork server the parent is the server, which outlives it."""
    trains = multiprocessing.parent_process()
    assert trains is not None
    has_server = multiprocessing.get_context().get_start_method() == "forkserver"
    while (has_server or os.getppid() == trains.pid) and trains.is_alive():
        time.sleep(_PARENT_SECONDS)
    os._exit(1)


def _reduce(tensor: torch.Tensor) -> tuple[Callable[..., torch.Tensor], tuple[Any, ...]]:
    is_plain = type(tensor) is torch.Tensor and tensor.layout is torch.strided and tensor.device.type == "cpu"
    is_small = _copies or tensor.nbytes < _LEAST_SHARED_BYTES
    if not is_plain or tensor.requires_grad or tensor.is_quantized or not (tensor.nbytes and is_small):
        return reduce_tensor(tensor)
    flat = tensor.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
    return _copied_tensor, (flat.numpy().tobytes(), tensor.dtype, tuple(tensor.shape))


def _copied_tensor(data: bytes, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)

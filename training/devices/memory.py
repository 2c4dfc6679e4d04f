"""Recognise that memory ran out, tell how much is free, and watch it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .host import host_memory_bytes

_ONEDNN = ("could not create a primitive", "could not create a memory", "could not execute a primitive")
"""How the messages of oneDNN begin, which name no cause."""

_MESSAGES = (
    "out of memory",  # CUDA, HIP, XPU, MPS, NPU, their drivers and their collectives
    "outofmemory",  # hipErrorOutOfMemory
    "out_of_memory",  # codes of HIP and Level Zero, as the next three
    "out_of_device_memory",
    "out_of_host_memory",
    "out_of_resources",
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED, HIPBLAS_...
    "allocfailed",  # miopenStatusAllocFailed
    "cudnn_status_not_supported",  # also for a batch that is too large; a smaller one then helps
    "can't allocate memory",  # torch's CPU allocator
    "cannot allocate memory",  # the system's own words
    "not enough memory",  # torch's CPU allocator on Windows
    "memory not available",  # MIOpen
    "unable to allocate",
    "failed to allocate",  # CANN
    "allocation failed",  # HPU
    "bad_alloc",
    *_ONEDNN,
    "resource temporarily unavailable",  # for a thread of C++ code, whose stack has no room
    "can't start new thread",
)
"""Parts of messages, in lower case, that mean out of memory in errors whose type does not say so."""

_ENFORCED = re.compile(r"^\[enforce fail at [^\]]*\][^.]*\. ")
"""The place in torch's source, which does not help a user."""

_CPU_SHARE, _DEVICE_SHARE = 0.5, 0.85
"""Share of the free memory that a forward and backward pass may be planned to take. Other programs share the CPU's."""

_RESERVE_BYTES = 8 << 20
_LOOK_SECONDS = 10.0


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out: by its type, else by its message."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if not isinstance(error, (RuntimeError, OSError)):
        return False
    text = str(error).lower()
    return any(message in text for message in _MESSAGES)


CANNOT_TRY_AGAIN = (
    "with --sharding fsdp all ranks compute together, and none can try again alone; give a smaller --micro-batch-size"
)
"""The end of the message if memory ran out on a rank for which others wait inside a pass."""


def out_of_memory_message(error: BaseException) -> str | None:
    """Return the allocator's message, in one line; `None` where the error means something else."""
    if not is_out_of_memory(error):
        return None
    return _ENFORCED.sub("", str(error).strip().split("\n")[0]) or type(error).__name__


def leave_onednn(message: str) -> bool:
    """Compute without oneDNN from now on if memory ran out in it; return whether that is new.

    It keeps the code of each shape that it has met, and gives none of it back. On all ranks, which know the same message.
    """
    if not message.lower().startswith(_ONEDNN) or not torch.backends.mkldnn.enabled:
        return False
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    return True


def drop_traceback(error: BaseException) -> None:
    """Drop the tracebacks of an error and its causes: they hold the tensors of the pass that failed."""
    link: BaseException | None = error
    while link is not None and link.__traceback__ is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__


def release_memory(device: torch.device) -> None:
    """Free what is no longer used, for other processes too."""
    gc.collect()
    if device.type == "cpu":
        # glibc keeps what was freed in small pieces; for other processes, and a limit of this one, it is still taken.
        with contextlib.suppress(AttributeError, OSError, TypeError):
            ctypes.CDLL(None).malloc_trim(0)
        return
    module = _module_of(device)
    if hasattr(module, "empty_cache"):
        module.empty_cache()


def synchronise(device: torch.device) -> None:
    """Wait until a device has finished its queued work."""
    if device.type != "cpu":
        _module_of(device).synchronize()


def _module_of(device: torch.device) -> Any:
    """Return torch's module for a kind of device, such as `torch.cuda`."""
    return getattr(torch, device.type)


def free_bytes(device: torch.device) -> int | None:
    """Return how many bytes can still be allocated on a device; `None` if it does not tell."""
    if device.type == "cpu":
        known = [one for one in (host_memory_bytes()[1], _address_space_left()) if one is not None]
        return min(known, default=None)
    module = _module_of(device)
    if not hasattr(module, "mem_get_info"):
        return None
    free, _ = module.mem_get_info(device)
    # What the allocator holds and does not use is free too.
    return int(free) + module.memory_reserved(device) - module.memory_allocated(device)


def peak_bytes(device: str) -> int | None:
    """Return the most bytes that were allocated on a kind of device, such as `cuda`, or that this process took on a CPU.

    `None` where that is not known. It waits for nothing that is queued.
    """
    if device == "cpu":
        if sys.platform == "win32":
            return None
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    module = getattr(torch, device)
    return int(module.max_memory_allocated()) if hasattr(module, "max_memory_allocated") else None


def _address_space_left() -> int | None:
    """Return how many bytes a limit on this process's address space (`ulimit -v`) leaves; `None` without a limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return None
    return max(0, limit - pages * resource.getpagesize())


def usable_bytes(available: int, device: torch.device) -> int:
    """Return how many of the free bytes a forward and backward pass may be planned to take."""
    return int(available * (_CPU_SHARE if device.type == "cpu" else _DEVICE_SHARE))


class MemoryReserve:
    """A little memory held back, so that a rank that ran out can still take part in the reduction."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._held: torch.Tensor | None = None
        self.hold()

    def hold(self) -> None:
        """Allocate it, again after a release; do without if there is none left."""
        if self._held is None:
            try:
                self._held = torch.empty(_RESERVE_BYTES, dtype=torch.uint8, device=self._device)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise

    def release(self) -> None:
        """Free it."""
        self._held = None


class Room(NamedTuple):
    """Whether the free memory is enough for further passes."""

    is_short: bool = False
    """The next pass would hardly fit."""
    is_tight: bool = False
    """A pass of twice the size could not be planned."""


class MemoryWatch:
    """Checks every few seconds whether another process has taken so much memory that the next pass would hardly fit."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._next_look = 0.0
        self._room = Room()

    def look(self, bytes_per_sample: int | None, limit: int) -> Room:
        """Return whether memory is enough for passes of `limit` samples. `is_short` is returned once for each check."""
        now = time.monotonic()
        if bytes_per_sample is None or now < self._next_look:
            return self._room
        self._next_look = now + _LOOK_SECONDS
        free = free_bytes(self._device)
        if free is None:
            return self._room
        needed = bytes_per_sample * limit
        is_tight = usable_bytes(free, self._device) < 2 * needed
        self._room = Room(is_tight=is_tight)
        return Room(is_short=free < needed, is_tight=is_tight)

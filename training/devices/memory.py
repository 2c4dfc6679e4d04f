"""Running out of memory: how it is recognised, what is left, and how large a micro-batch may be."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .world import host_memory_bytes

_MESSAGES = (
    "out of memory",  # CUDA, HIP, XPU, MPS, NPU, their drivers and their collectives
    "outofmemory",  # hipErrorOutOfMemory
    "out_of_memory",  # codes of HIP and Level Zero, as the next three
    "out_of_device_memory",
    "out_of_host_memory",
    "out_of_resources",
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED, HIPBLAS_...
    "allocfailed",  # miopenStatusAllocFailed
    "cudnn_status_not_supported",  # also said of a batch that is too large; a smaller one is then the remedy
    "can't allocate memory",  # torch's CPU allocator
    "cannot allocate memory",  # the system's own words
    "not enough memory",  # torch's CPU allocator on Windows
    "memory not available",  # MIOpen
    "unable to allocate",
    "failed to allocate",  # CANN
    "allocation failed",  # HPU
    "bad_alloc",
)
"""Parts of messages, in lower case, that mean out of memory in errors whose type does not say so."""

_ENFORCED = re.compile(r"^\[enforce fail at [^\]]*\][^.]*\. ")
"""Where torch's source says so, which tells a user nothing."""

_FIRST_QUIET_STEPS = 1000
_CPU_SHARE, _DEVICE_SHARE = 0.5, 0.85
"""How much of the free memory a forward and backward pass may be planned to take. The CPU's is shared with others."""

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
    "with --sharding fsdp all ranks compute in step, and none can try again alone; give a smaller --micro-batch-size"
)
"""What follows where memory ran out on a rank that the others wait for inside a collective."""


def words_of_out_of_memory(error: BaseException) -> str | None:
    """Return what an error says of the memory that ran out, in one line; none where it means something else.

    It then lets go of the tensors of the pass that failed, which its traceback holds.
    """
    if not is_out_of_memory(error):
        return None
    words = _ENFORCED.sub("", str(error).strip().split("\n")[0]) or type(error).__name__
    link: BaseException | None = error
    while link is not None and link.__traceback__ is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return words


def release_memory(device: torch.device) -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if device.type == "cpu":
        # glibc keeps what is freed in small pieces; other processes, and a limit of this one, count it as taken.
        with contextlib.suppress(AttributeError, OSError, TypeError):
            ctypes.CDLL(None).malloc_trim(0)
        return
    module = _module_of(device)
    if hasattr(module, "empty_cache"):
        module.empty_cache()


def synchronise(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type != "cpu":
        _module_of(device).synchronize()


def _module_of(device: torch.device) -> Any:
    """Return torch's module of a kind of device, such as `torch.cuda`."""
    return getattr(torch, device.type)


def free_bytes(device: torch.device) -> int | None:
    """Return what could still be allocated on a device; none where it does not say."""
    if device.type == "cpu":
        known = [one for one in (host_memory_bytes()[1], _address_space_left()) if one is not None]
        return min(known, default=None)
    module = _module_of(device)
    if not hasattr(module, "mem_get_info"):
        return None
    free, _ = module.mem_get_info(device)
    # What the allocator holds and does not use is free too.
    return int(free) + module.memory_reserved(device) - module.memory_allocated(device)


def _address_space_left() -> int | None:
    """Return what a limit on this process's address space (`ulimit -v`) leaves; none without one."""
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
    """Return how much of the free memory a forward and backward pass may be planned to take."""
    return int(available * (_CPU_SHARE if device.type == "cpu" else _DEVICE_SHARE))


class MemoryReserve:
    """A little memory held back, so that after running out a rank can still tell the others."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._held: torch.Tensor | None = None
        self.hold()

    def hold(self) -> None:
        """Hold it, again after a release; where there is none left, do without."""
        if self._held is None:
            try:
                self._held = torch.empty(_RESERVE_BYTES, dtype=torch.uint8, device=self._device)
            except Exception as error:
                if words_of_out_of_memory(error) is None:
                    raise

    def release(self) -> None:
        """Give it back."""
        self._held = None


class Room(NamedTuple):
    """What a look at the free memory found."""

    is_short: bool = False
    """The next pass would hardly fit."""
    is_tight: bool = False
    """One of twice the size could not be planned."""


class MemoryWatch:
    """Looks every few seconds whether another process has taken so much that the next pass would hardly fit."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._next_look = 0.0
        self._room = Room()

    def look(self, bytes_per_sample: int | None, limit: int) -> Room:
        """Return how much room there is for passes of `limit` samples. `is_short` is said once for each look."""
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


@dataclass(kw_only=True)
class MicroBatchLimit:
    """The most samples in one forward pass, and which sizes were seen to fit on every rank. Equal on all ranks.

    A size that fits a cost (the length of the longest sample) is taken to fit smaller sizes and lower costs too.
    """

    limit: int
    ceiling: int
    """What it may grow back to."""
    key: str = ""
    """Stands for the model, device and share that it was found for: another one's state is of no use."""
    is_chosen: bool = False
    """Whether the ceiling was measured, here or before a resume."""
    bytes_per_sample: int | None = None
    """Of the longest samples, where it was measured."""
    quiet_steps: int = 0
    """Steps since memory last ran out, or since it grew."""
    patience: int = _FIRST_QUIET_STEPS
    """Quiet steps after which it grows back."""
    is_on_trial: bool = False
    """Whether it grew less than `patience` steps ago."""
    proven: dict[int, float] = field(default_factory=dict)
    """The highest cost seen to fit, by size."""

    def choose(self, size: int, bytes_per_sample: int | None) -> None:
        """Start at the size that was found best, which is not always the largest that fits: it does not grow beyond it."""
        self.limit = self.ceiling = min(size, self.ceiling)
        self.bytes_per_sample, self.is_chosen = bytes_per_sample, True

    def is_proven(self, size: int, cost: float) -> bool:
        """Return whether a micro-batch of this size and cost was seen to fit."""
        return any(size <= known and cost <= highest for known, highest in self.proven.items())

    def succeed(self, size: int, cost: float, *, has_room: bool = True) -> bool:
        """Note a step that fitted; return whether the limit grew after a long quiet time, where there is room for it."""
        if not self.is_proven(size, cost):
            self.proven[size] = max(cost, self.proven.get(size, cost))
        self.quiet_steps += 1
        if self.quiet_steps < self.patience:
            return False
        self.is_on_trial = False
        if self.limit >= self.ceiling or not has_room:
            return False
        self.limit = min(self.ceiling, 2 * self.limit)
        self.quiet_steps, self.is_on_trial = 0, True
        return True

    def shrink(self, size: int) -> bool:
        """Halve the limit after a micro-batch of `size` did not fit; return false where it was a single sample."""
        if self.is_on_trial:
            # It did not fit again: wait longer before the next try.
            self.patience *= 2
        self.proven = {known: cost for known, cost in self.proven.items() if known < size}
        self.limit = max(1, min(self.limit, size) // 2)
        self.quiet_steps, self.is_on_trial = 0, False
        return size > 1

    def state(self) -> dict[str, Any]:
        """Return it as plain values, for a checkpoint."""
        names = ("limit", "ceiling", "key", "is_chosen", "bytes_per_sample", "quiet_steps", "patience", "is_on_trial")
        return {
            **{name: getattr(self, name) for name in names},
            "proven": [[size, cost] for size, cost in self.proven.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state, if it was found for the same model, device and share; else stay as it is."""
        if state.get("key") != self.key:
            return
        self.limit, self.ceiling = int(state["limit"]), int(state["ceiling"])
        self.is_chosen, self.is_on_trial = bool(state["is_chosen"]), bool(state["is_on_trial"])
        needed = state["bytes_per_sample"]
        self.bytes_per_sample = None if needed is None else int(needed)
        self.quiet_steps, self.patience = int(state["quiet_steps"]), int(state["patience"])
        self.proven = {int(size): float(cost) for size, cost in state["proven"]}

"""Running out of memory: how it is recognised, how large a micro-batch may be, and what was seen to fit."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from training.world import host_memory_bytes

_MESSAGES = (
    "out of memory",  # CUDA, HIP, XPU, MPS and the driver itself
    "can't allocate memory",  # torch's CPU allocator
    "cannot allocate memory",  # the system's own words
    "not enough memory",
    "failed to allocate",
    "alloc_failed",  # CUBLAS_STATUS_ALLOC_FAILED, CUDNN_STATUS_ALLOC_FAILED, HIPBLAS_...
    "out_of_memory",  # HIP's and Level Zero's codes
    "out_of_device_memory",
    "out_of_host_memory",
    "std::bad_alloc",
    "insufficient memory",
    "hbm is insufficient",  # HPU
    "memory allocation failed",
)
"""Parts of messages, in lower case, that mean out of memory in errors whose type does not say so."""

_FIRST_QUIET_STEPS = 1000
_CPU_SHARE, _DEVICE_SHARE = 0.5, 0.85
"""How much of the free memory a forward and backward pass may be planned to take. The CPU's is shared with others."""

_RESERVE_BYTES = 8 << 20
_SEARCH_SECONDS = 2.0
_AS_FAST, _CLEARLY_SLOWER = 1.03, 1.06
"""Times of a size over the shortest."""

_GRADIENT_FACTOR = 2.0
"""On a CPU: what a pass needs at its peak over what it saves for the backward pass; 1.3 to 1.9 in the bundled model."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out: by its type, else by its message."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if not isinstance(error, (RuntimeError, OSError)):
        return False
    text = str(error).lower()
    return any(message in text for message in _MESSAGES)


def release_memory(device: torch.device) -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
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
        return host_memory_bytes()[1]
    module = _module_of(device)
    if not hasattr(module, "mem_get_info"):
        return None
    free, _ = module.mem_get_info(device)
    # What the allocator holds and does not use is free too.
    return int(free) + module.memory_reserved(device) - module.memory_allocated(device)


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
                if not is_out_of_memory(error):
                    raise

    def release(self) -> None:
        """Give it back."""
        self._held = None


@dataclass(kw_only=True)
class MicroBatchLimit:
    """The most samples in one forward pass, and which sizes were seen to fit on every rank. Equal on all ranks.

    A size that fits a cost (the length of the longest sample) is taken to fit smaller sizes and lower costs too.
    """

    limit: int
    ceiling: int
    """What it may grow back to."""
    quiet_steps: int = 0
    """Steps since memory last ran out."""
    patience: int = _FIRST_QUIET_STEPS
    """Quiet steps after which it grows back."""
    proven: dict[int, float] = field(default_factory=dict)
    """The highest cost seen to fit, by size."""

    def is_proven(self, size: int, cost: float) -> bool:
        """Return whether a micro-batch of this size and cost was seen to fit."""
        return any(size <= known and cost <= highest for known, highest in self.proven.items())

    def succeed(self, size: int, cost: float) -> bool:
        """Note a step that fitted; return whether the limit grew after a long quiet time."""
        if not self.is_proven(size, cost):
            self.proven[size] = max(cost, self.proven.get(size, cost))
        self.quiet_steps += 1
        if self.limit >= self.ceiling or self.quiet_steps < self.patience:
            return False
        self.limit = min(self.ceiling, 2 * self.limit)
        self.quiet_steps = 0
        return True

    def shrink(self, size: int) -> bool:
        """Halve the limit after a micro-batch of `size` did not fit; return false where it was a single sample."""
        if self.limit < self.ceiling:
            # It did not fit again: wait longer before the next try.
            self.patience *= 2
        self.proven = {known: cost for known, cost in self.proven.items() if known < size}
        self.limit = max(1, min(self.limit, size) // 2)
        self.quiet_steps = 0
        return size > 1

    def state(self) -> dict[str, Any]:
        """Return it as plain values, for a checkpoint."""
        return {
            "limit": self.limit,
            "quiet_steps": self.quiet_steps,
            "patience": self.patience,
            "proven": [[size, cost] for size, cost in self.proven.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state; a limit above the present ceiling is cut to it."""
        self.limit = min(int(state["limit"]), self.ceiling)
        self.quiet_steps, self.patience = int(state["quiet_steps"]), int(state["patience"])
        self.proven = {int(size): float(cost) for size, cost in state["proven"]}


def largest_that_fits(compute: Callable[[int], None], largest: int, device: torch.device) -> tuple[int, int | None]:
    """Return the largest micro-batch that is expected to fit, and the bytes that a sample needs where that is known.

    `compute(n)` does a forward and a backward pass of the n longest samples. n doubles only while what was measured says
    that the double fits, so that nothing fails; and it stops as soon as `largest` clearly fits.
    """
    # Not one: a model with batch statistics has none of a single sample.
    size, bytes_per_sample = min(2, largest), None
    while True:
        try:
            used = _bytes_of(compute, size, device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            error.__traceback__ = None  # it holds the tensors of the pass
            release_memory(device)
            return max(1, size // 2), bytes_per_sample
        available = free_bytes(device)
        if used is None or available is None:
            # Nothing can be measured here: the sizes themselves are tried.
            fits = largest if device.type == "cpu" else 2 * size
        else:
            bytes_per_sample = max(1, -(-used // size))
            fits = usable_bytes(available, device) // bytes_per_sample
        if fits >= 2 * largest or size >= largest:
            return min(largest, max(1, fits, size)), bytes_per_sample
        if fits < 2 * size:
            return max(size, min(fits, largest)), bytes_per_sample
        size = min(largest, 2 * size)


def usable_bytes(available: int, device: torch.device) -> int:
    """Return how much of the free memory a forward and backward pass may be planned to take."""
    return int(available * (_CPU_SHARE if device.type == "cpu" else _DEVICE_SHARE))


def fastest_size(seconds: Callable[[int], float], largest: int) -> int:
    """Return the micro-batch size at which a share takes the least time: `largest`, its half, its quarter, ...

    Small ones pad less and stay in the caches, large ones use the device better. A larger one is preferred where it is as
    fast but for noise; smaller ones are not tried once they only get slower.
    """
    started = time.monotonic()
    size, times = largest, {largest: seconds(largest)}
    while size > 1 and time.monotonic() - started < _SEARCH_SECONDS:
        size = -(-size // 2)
        times[size] = seconds(size)
        if times[size] > _CLEARLY_SLOWER * min(times.values()):
            break
    least = min(times.values())
    return max(size for size, taken in times.items() if taken <= _AS_FAST * least)


def _bytes_of(compute: Callable[[int], None], size: int, device: torch.device) -> int | None:
    """Return the memory that a pass takes beyond what stood before it; on a CPU an estimate from what autograd saves."""
    if device.type != "cpu":
        module = _module_of(device)
        if not hasattr(module, "max_memory_allocated"):
            compute(size)
            return None
        module.reset_peak_memory_stats(device)
        before = module.memory_allocated(device)
        compute(size)
        return int(module.max_memory_allocated(device)) - int(before)
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        compute(size)
    return int(_GRADIENT_FACTOR * sum(saved.values()))

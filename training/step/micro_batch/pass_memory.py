"""Measure the memory of a forward and backward pass: counted by the device, estimated on a host."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Collection
from pathlib import Path

import torch
from torch.autograd.graph import saved_tensors_hooks

from ...common.program.threads import start_helper
from ...devices.memory import release_memory

_SAVED_FACTOR = 2.0
"""On a CPU: the peak of a pass over what it saves for the backward pass; measured 1.3 to 1.7 in the bundled model."""

_LOOK_SECONDS = 0.001
"""Between two readings of the process's memory."""


def bytes_of_pass(
    compute: Callable[[int], None], size: int, device: torch.device, persistent_storages: Collection[int]
) -> int | None:
    """Return the bytes that `compute(size)` allocates at its peak; `None` if the device does not tell.

    `persistent_storages` are the addresses of storages that existed before, such as the parameters'.
    """
    if device.type == "cpu":
        return _host_bytes_of(compute, size, persistent_storages)
    module = getattr(torch, device.type)
    if not hasattr(module, "max_memory_allocated"):
        compute(size)
        return None
    module.reset_peak_memory_stats(device)
    before = module.memory_allocated(device)
    compute(size)
    return int(module.max_memory_allocated(device)) - int(before)


def _host_bytes_of(compute: Callable[[int], None], size: int, persistent_storages: Collection[int]) -> int:
    """Estimate the host memory of a pass in bytes: from what autograd saves, or from the growth of the process if that is more.

    The growth is more if activations are recomputed: autograd then saves little at a time. But memory that the process had
    freed before, and not returned to the system, does not show as growth.
    """
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in persistent_storages:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    release_memory(torch.device("cpu"))
    with _Growth() as growth, saved_tensors_hooks(note, lambda tensor: tensor):
        compute(size)
    return max(int(_SAVED_FACTOR * sum(saved.values())), growth.num_bytes)


class _Growth:
    """Measures the largest growth of the process's memory within a block; 0 if the system has no `/proc`."""

    def __init__(self) -> None:
        self.num_bytes = 0
        self._before = _resident_bytes()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._look, name="memory", daemon=True)

    def __enter__(self) -> _Growth:
        self._looks = bool(self._before) and start_helper(self._thread, "what a pass takes is measured less closely")
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        if self._looks:
            self._thread.join()

    def _look(self) -> None:
        while not self._ends.wait(_LOOK_SECONDS):
            self.num_bytes = max(self.num_bytes, _resident_bytes() - self._before)


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
    except (OSError, ValueError):
        return 0

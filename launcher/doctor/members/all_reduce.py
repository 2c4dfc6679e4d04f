"""One member of a timed all-reduce; imports torch only when run as a process of its own."""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

from .member import reporting

ELEMENTS = 4 << 20  # of float32: 16 MiB
_ROUNDS = 7  # after one that opens the connections


def _work(report: dict[str, Any], folder: str, limit_seconds: float, rank: int, size: int, device_kind: str) -> None:
    import datetime
    import importlib

    for extension in {"npu": ("torch_npu",), "hpu": ("habana_frameworks.torch.core",)}.get(device_kind, ()):
        importlib.import_module(extension)
    import torch
    import torch.distributed as dist

    backend = {"cpu": "gloo", "cuda": "nccl", "xpu": "xccl"}.get(device_kind, "hccl")
    accelerator = None if device_kind == "cpu" else getattr(torch, device_kind)
    if accelerator is not None:
        accelerator.set_device(rank)
    device = torch.device("cpu") if accelerator is None else torch.device(device_kind, rank)
    dist.init_process_group(
        backend,
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=size,
        # A little less, so that the backend can say what it waits for.
        timeout=datetime.timedelta(seconds=0.8 * limit_seconds),
    )
    # Whole numbers below 2**24, so the right sum is exact.
    pattern = torch.arange(ELEMENTS, device=device, dtype=torch.float32) % 4096
    seconds = []
    right = True
    for _ in range(1 + _ROUNDS):
        values = pattern * (rank + 1)
        _finish(accelerator)
        started = time.perf_counter()
        dist.all_reduce(values)
        _finish(accelerator)
        seconds.append(time.perf_counter() - started)
        right = right and bool(torch.equal(values, pattern * (size * (size + 1) // 2)))
    report.update(
        rank=rank,
        world_size=dist.get_world_size(),
        backend=backend,
        device=str(device),
        right=right,
        bytes=ELEMENTS * 4,
        seconds=statistics.median(seconds[1:]),
    )
    # A process that ends with gloo's threads alive can abort.
    dist.destroy_process_group()


def _finish(accelerator: Any) -> None:
    if accelerator is not None:
        accelerator.synchronize()


def _main() -> None:
    folder, limit_seconds, rank, size, device_kind = sys.argv[1:]
    with reporting(folder, float(limit_seconds)) as report:
        _work(report, folder, float(limit_seconds), int(rank), int(size), device_kind)


if __name__ == "__main__":
    _main()

"""One process of a timed all-reduce. It imports torch only when it runs."""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

from .member import write_report

ELEMENTS = 4 << 20  # of float32: 16 MiB
_ROUNDS = 7  # after one that opens the connections


def _all_reduce(
    report: dict[str, Any], folder: str, limit_seconds: float, rank: int, size: int, device_kind: str
) -> None:
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
        # Less than the limit, so that the backend can report what it waits for.
        timeout=datetime.timedelta(seconds=0.8 * limit_seconds),
    )
    # Integers below 2**24, so the right sum is exact in float32.
    pattern = torch.arange(ELEMENTS, device=device, dtype=torch.float32) % 4096
    seconds = []
    right = True
    for _ in range(1 + _ROUNDS):
        values = pattern * (rank + 1)
        _synchronize(accelerator)
        started = time.perf_counter()
        dist.all_reduce(values)
        _synchronize(accelerator)
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
    # A process that ends while gloo's threads run can abort.
    dist.destroy_process_group()


def _synchronize(accelerator: Any) -> None:
    if accelerator is not None:
        accelerator.synchronize()


def _main() -> None:
    folder, limit_seconds, rank, size, device_kind = sys.argv[1:]
    with write_report(folder, float(limit_seconds)) as report:
        _all_reduce(report, folder, float(limit_seconds), int(rank), int(size), device_kind)


if __name__ == "__main__":
    _main()

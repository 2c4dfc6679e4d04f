"""One process of a planned world, as a training would be one; imports Accelerate only when run on its own."""

from __future__ import annotations

import os
import sys
from typing import Any

from .member import reporting


def _work(report: dict[str, Any]) -> None:
    import torch
    import torch.distributed as dist
    from accelerate import Accelerator

    accelerator = Accelerator()
    device = accelerator.device
    ones = torch.ones(1, device=device)
    if accelerator.num_processes > 1:
        dist.all_reduce(ones)
    report.update(
        rank=accelerator.process_index,
        local_rank=accelerator.local_process_index,
        world_size=accelerator.num_processes,
        promised_world_size=int(os.environ.get("WORLD_SIZE", "1")),
        counted=round(ones.item()),
        device_kind=device.type,
        device=str(device),
        device_uuid=_uuid(device),
        mixed_precision=accelerator.mixed_precision,
        threads=torch.get_num_threads(),
    )
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _uuid(device: Any) -> str | None:
    """Return CUDA's UUID as NVML writes it, or None."""
    if device.type != "cuda":
        return None
    import torch

    uuid = str(getattr(torch.cuda.get_device_properties(device), "uuid", ""))
    return f"GPU-{uuid}" if uuid.strip("0-") else None


def _main() -> None:
    folder, limit_seconds = sys.argv[1:]
    with reporting(folder, float(limit_seconds)) as report:
        _work(report)


if __name__ == "__main__":
    _main()

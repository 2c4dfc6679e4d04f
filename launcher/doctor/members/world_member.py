"""One process of a planned world. It makes an `Accelerator` as a training does, and reports what it got."""

from __future__ import annotations

import os
import sys
from typing import Any

from .member import write_report


def _report_world(report: dict[str, Any]) -> None:
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
    """Return the UUID of a CUDA device as NVML writes it, or None."""
    if device.type != "cuda":
        return None
    import torch

    uuid = str(getattr(torch.cuda.get_device_properties(device), "uuid", ""))
    return f"GPU-{uuid}" if uuid.strip("0-") else None


def _main() -> None:
    folder, limit_seconds = sys.argv[1:]
    with write_report(folder, float(limit_seconds)) as report:
        _report_world(report)


if __name__ == "__main__":
    _main()

"""The host of this process: its cores, memory and processor, with the limits of a container."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path

import psutil
import torch

from .world import launched_world


def usable_cores() -> int:
    """Return how many CPU cores this process may use: its affinity, limited by the quota of its cgroup."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _cgroup_folders("cpu"):
        with contextlib.suppress(OSError, ValueError):
            if (folder / "cpu.max").exists():
                quota, period = (folder / "cpu.max").read_text().split()
            else:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
            if quota not in ("max", "-1"):
                cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def set_cpu_threads(wanted: int | None) -> str:
    """Set the CPU threads to `wanted`, the user's own or this process's share of the cores; return `count: reason`."""
    world = launched_world()
    user = os.environ.get("OMP_NUM_THREADS")
    # torchrun and accelerate launch write 1 there themselves if the user set nothing; a plan's count is meant.
    launched = "TORCHELASTIC_RUN_ID" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ
    launched = launched and "SLIPWAY_PLAN" not in os.environ
    if wanted is None and user and not (user == "1" and launched):
        return f"{torch.get_num_threads()}: OMP_NUM_THREADS={user} is kept"
    cores, processes = usable_cores(), world.local_size or 1
    threads = max(1, cores // processes) if wanted is None else wanted
    torch.set_num_threads(threads)
    shared = f"{cores} usable cores / {processes} process{'es' if processes > 1 else ''}"
    return f"{threads}: " + (shared if wanted is None else "asked for")


def _cgroup_folders(controller: str) -> list[Path]:
    """Return the folders of this process's cgroups and their ancestors, version 2 and 1; any of them may hold a limit."""
    folders: list[Path] = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            root = Path("/sys/fs/cgroup")
            if controllers and controller not in controllers.split(","):
                continue
            leaf = Path(group.lstrip("/"))
            folders += [root / (controllers and controller) / part for part in (leaf, *leaf.parents)]
    return folders


def host_memory_bytes() -> tuple[int, int]:
    """Return (total, free) host memory in bytes, both at most the limit of a container."""
    memory = psutil.virtual_memory()
    total, free = int(memory.total), int(memory.available)
    for folder in _cgroup_folders("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):  # "max" is no limit
                total = min(total, int((folder / name).read_text()))
    return total, min(total, free)


def cpu_name() -> str:
    """Return the processor's name as the system gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()

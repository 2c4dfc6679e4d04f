"""Host memory, the cgroup limit on it, and the size of `/dev/shm`."""

from __future__ import annotations

import os

from ..record import Memory
from .cgroups import memory_limit
from .sources import ProbeError, Sources


def detect(sources: Sources) -> Memory:
    """Return the memory in bytes. Raises `ProbeError` where neither `/proc/meminfo` nor psutil tells."""
    total_bytes, available_bytes = _host(sources)
    limit, used = memory_limit(sources)
    limited = limit is not None and limit < total_bytes
    shm_total_bytes, shm_free_bytes = _shared(sources)
    return Memory(
        total_bytes=total_bytes,
        available_bytes=available_bytes,
        cgroup_limit_bytes=limit,
        cgroup_used_bytes=used,
        usable_bytes=limit if limit is not None and limited else total_bytes,
        limited_by="cgroup limit" if limited else "host",
        shm_total_bytes=shm_total_bytes,
        shm_free_bytes=shm_free_bytes,
    )


def _host(sources: Sources) -> tuple[int, int]:
    entries = dict(line.split(":", 1) for line in (sources.text("/proc/meminfo") or "").splitlines() if ":" in line)
    if "MemTotal" in entries:
        kibibytes = {key: int(value.split()[0]) for key, value in entries.items() if value.split()}
        # MemAvailable is missing before Linux 3.14 and in some sandboxes.
        return kibibytes["MemTotal"] * 1024, kibibytes.get("MemAvailable", kibibytes.get("MemFree", 0)) * 1024
    psutil = sources.psutil()
    if psutil is None:
        raise ProbeError("the size of the memory is not known: pip install psutil")
    memory = psutil.virtual_memory()
    return memory.total, memory.available


def _shared(sources: Sources) -> tuple[int | None, int | None]:
    """Return (total, free) bytes of `/dev/shm`, through which data-loader workers hand over their batches."""
    if sources.platform != "linux":
        return None, None
    try:
        status = os.statvfs(sources.path("/dev/shm"))
    except OSError:
        return None, None
    return status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize

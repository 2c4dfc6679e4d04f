"""Probe the host memory, the cgroup limit on it, and `/dev/shm`."""

from __future__ import annotations

import os

from ..record import Memory
from .cgroups import memory_limit
from .sources import Sources


def detect(sources: Sources) -> Memory:
    """Return the sizes in bytes."""
    host = sources.psutil.virtual_memory()
    limit, used = memory_limit(sources)
    limited = limit is not None and limit < host.total
    shm_total_bytes, shm_free_bytes = _shared(sources)
    return Memory(
        total_bytes=host.total,
        available_bytes=host.available,
        cgroup_limit_bytes=limit,
        cgroup_used_bytes=used,
        usable_bytes=limit if limit is not None and limited else host.total,
        limited_by="cgroup limit" if limited else "host",
        shm_total_bytes=shm_total_bytes,
        shm_free_bytes=shm_free_bytes,
    )


def _shared(sources: Sources) -> tuple[int | None, int | None]:
    """Return (total, free) bytes of `/dev/shm`, in which worker processes of a data loader pass batches."""
    if sources.platform != "linux":
        return None, None
    try:
        status = os.statvfs(sources.path("/dev/shm"))
    except OSError:
        return None, None
    return status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize

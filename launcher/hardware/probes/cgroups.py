"""Read the CPU and memory limits of the cgroups of this process, v1 and v2."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .sources import Sources, read_text, to_integer

# cgroup v1 writes the largest multiple of the page size for "no limit"; no machine has an exbibyte.
_NO_LIMIT_BYTES = 1 << 60


def folders(sources: Sources, controller: str) -> Iterator[tuple[int, Path]]:
    """Yield (version, folder) for a controller (`cpu`, `memory`), from the cgroup of this process up to the mount.

    The limit of each of them applies. In a container the mount shows a part of the host's tree, named by its root.
    """
    for version, mount_root, mount_point in _mounts(sources, controller):
        own = _own_path(sources, controller if version == 1 else None)
        if own is None:
            continue
        folder = sources.path(mount_point)
        relative = os.path.relpath(own, mount_root)
        start = folder / relative if not relative.startswith("..") else folder / own.lstrip("/")
        # In a cgroup namespace the path can lie outside of the mount: then the mount itself is the cgroup.
        current = start if start.is_dir() and ".." not in start.parts else folder
        while True:
            yield version, current
            if current == folder:
                break
            current = current.parent


def _mounts(sources: Sources, controller: str) -> Iterator[tuple[int, str, str]]:
    for line in (sources.text("/proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            yield 2, fields[3], fields[4]
        elif kind[0] == "cgroup" and controller in kind[2].split(","):
            yield 1, fields[3], fields[4]


def _own_path(sources: Sources, controller: str | None) -> str | None:
    for line in (sources.text("/proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (controller is None and number == "0") or (controller and controller in controllers.split(",")):
            return path
    return None


def cpu_quota(sources: Sources) -> float | None:
    """Return the smallest CPU quota, in CPUs, or None without a quota."""
    quotas = []
    for version, folder in folders(sources, "cpu"):
        if version == 2:
            fields = (read_text(folder / "cpu.max") or "max").split()
            quota, period = to_integer(fields[0]), to_integer(fields[1] if len(fields) > 1 else "100000")
        else:
            quota, period = (to_integer(read_text(folder / f"cpu.cfs_{name}_us")) for name in ("quota", "period"))
        if quota and period and quota > 0:
            quotas.append(quota / period)
    return min(quotas, default=None)


def cpu_throttling(sources: Sources) -> float | None:
    """Return the largest share of the periods in which a quota stopped a cgroup of this process; None without a quota."""
    shares = []
    for _, folder in folders(sources, "cpu"):
        stat = dict(line.split()[:2] for line in (read_text(folder / "cpu.stat") or "").splitlines() if " " in line)
        periods, stopped = to_integer(stat.get("nr_periods")), to_integer(stat.get("nr_throttled"))
        if periods and stopped is not None:
            shares.append(stopped / periods)
    return max(shares, default=None)


def memory_limit(sources: Sources) -> tuple[int | None, int | None]:
    """Return (limit, used) in bytes of the cgroup with the smallest memory limit; (None, None) without a limit."""
    best: tuple[int | None, int | None] = None, None
    for version, folder in folders(sources, "memory"):
        stat = dict(line.split()[:2] for line in (read_text(folder / "memory.stat") or "").splitlines() if " " in line)
        if version == 2:
            limits = [to_integer(read_text(folder / "memory.max"))]
            used = to_integer(read_text(folder / "memory.current"))
        else:
            # The hierarchical value includes parents that this mount does not show.
            limits = [
                to_integer(read_text(folder / "memory.limit_in_bytes")),
                to_integer(stat.get("hierarchical_memory_limit")),
            ]
            used = to_integer(read_text(folder / "memory.usage_in_bytes"))
        limit = min((value for value in limits if value is not None and value < _NO_LIMIT_BYTES), default=None)
        if limit is not None and (best[0] is None or limit < best[0]):
            cache = to_integer(stat.get("inactive_file" if version == 2 else "total_inactive_file")) or 0
            best = limit, None if used is None else max(0, used - cache)
    return best

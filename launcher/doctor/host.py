"""Checks of the host: CPUs, memory, shared memory, disk, open files."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
from pathlib import Path

from ..hardware.record import Hardware
from ..hardware.show import size
from .check import Check, DoctorContext, failed, passed, skipped, warned

_MIB = 1 << 20
_GIB = 1 << 30
_SMALL_DISK_BYTES, _SMALLEST_DISK_BYTES = 5 * _GIB, _GIB
# A process that has imported torch and Accelerate holds 225 MiB (CPU build) before it has any data.
_SMALL_MEMORY_BYTES, _SMALLEST_MEMORY_BYTES = _GIB, 256 * _MIB
_SMALL_SHM_BYTES = _GIB
_FEW_FILES = 4096  # each worker process holds a descriptor for every tensor it hands over


def check_cpus(context: DoctorContext) -> Check:
    """Warn where a limit leaves a fraction of a CPU, far fewer than the host has, or fewer than the processes."""
    cpu, plan = context.hardware.cpu, context.plan
    quota, cores, local = cpu.cgroup_quota_cpus, cpu.logical_cores, plan.local_processes
    evidence = f"{cpu.usable_cpus:g} of {cores} CPUs usable, limited by {cpu.limited_by}"
    measured = {"usable_cpus": cpu.usable_cpus, "host_cpus": float(cores)}
    if quota is not None and quota != int(quota):
        why = f"a quota of {quota:g} stops all threads together once it is used up"
    elif quota is not None and 2 * quota <= cores:
        why = f"what counts the host's cores starts {cores} threads on {quota:g} CPUs"
    elif cpu.usable_cpus < local:
        why = f"{local} processes take turns"
    else:
        return passed("cpus", evidence, **measured)
    remedy = {
        "cgroup quota": f"export OMP_NUM_THREADS={max(1, int(cpu.usable_cpus) // local)} (`slipway launch` sets it), "
        "or more whole CPUs: docker run --cpus=N, resources.limits.cpu in Kubernetes",
        "SLURM_CPUS_PER_TASK": f"srun --cpus-per-task={max(2, local)} or more",
        "affinity": f"taskset -cp 0-{cores - 1} $$, or ask the scheduler for more CPUs",
        "logical cores": f"--num-processes {max(1, int(cpu.usable_cpus)) * plan.num_machines}",
    }[cpu.limited_by]
    return warned("cpus", f"{evidence}: {why}", remedy, **measured)


def check_memory(context: DoctorContext) -> Check:
    """Warn below 1 GiB of memory for each process of this machine, within the cgroup's limit; fail below 256 MiB."""
    memory, local, free = context.hardware.memory, context.plan.local_processes, available_bytes(context.hardware)
    limited = f", limited by {memory.limited_by}" if memory.limited_by != "host" else ""
    evidence = f"{size(free)} available of {size(memory.usable_bytes)}{limited}"
    measured = {"available_bytes": float(free), "usable_bytes": float(memory.usable_bytes)}
    remedy = "end other programs" if memory.limited_by == "host" else "raise the container's memory limit"
    if local > 1:
        remedy += ", or plan fewer processes with --num-processes"
        evidence += f" for {local} processes"
    if free < local * _SMALLEST_MEMORY_BYTES:
        return failed("memory", f"{evidence}: importing torch takes 225 MiB and more", remedy, **measured)
    if free < local * _SMALL_MEMORY_BYTES:
        return warned("memory", evidence, remedy, **measured)
    return passed("memory", evidence, **measured)


def available_bytes(hardware: Hardware) -> int:
    """Return the bytes that new processes may take: the smaller of what the host and the cgroup have left."""
    memory = hardware.memory
    free = min(memory.available_bytes, memory.usable_bytes)
    if memory.cgroup_limit_bytes is None or memory.cgroup_used_bytes is None:
        return free
    return min(free, max(0, memory.cgroup_limit_bytes - memory.cgroup_used_bytes))


def check_shared_memory(context: DoctorContext) -> Check:
    """Warn where `/dev/shm` has less than 1 GiB: worker processes of a script hand batches over in it, and NCCL uses it.

    Slipway's own training prepares batches in threads, which need none of it.
    """
    memory = context.hardware.memory
    total, free = memory.shm_total_bytes, memory.shm_free_bytes
    if total is None:
        return skipped("shared_memory", "no /dev/shm here")
    left = total if free is None else free
    evidence = f"/dev/shm: {size(left)} free of {size(total)}"
    measured = {"shm_total_bytes": float(total), "shm_free_bytes": float(left)}
    if total < _SMALL_SHM_BYTES:
        remedy = (
            "mount -o remount,size=8g /dev/shm; for a container docker run --shm-size=8g, "
            "in Kubernetes a Memory emptyDir at /dev/shm"
        )
        return warned(
            "shared_memory",
            f"{evidence}: worker processes of a script's DataLoader can die of a bus error",
            remedy,
            **measured,
        )
    if left < _SMALL_SHM_BYTES:
        return warned(
            "shared_memory", f"{evidence}: nearly full", "ls -lS /dev/shm and remove what is stale", **measured
        )
    return passed("shared_memory", evidence, **measured)


def check_disk(context: DoctorContext) -> Check:
    """Fail where no run can be written to the runs folder or under 1 GiB is free; warn below 5 GiB."""
    folder = nearest_existing(context.runs_dir)
    if not folder.is_dir():
        return failed("disk", f"{folder} is a file, not a folder", "--runs-dir FOLDER")
    try:
        free = shutil.disk_usage(folder).free
        # Asking for permissions is not enough: a file system may be read-only, full, out of inodes or over quota.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"slipway")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return failed("disk", f"{folder} cannot be written: {error.strerror}", "--runs-dir FOLDER on another disk")
    return judge_disk(folder, free)


def judge_disk(folder: Path, free_bytes: int) -> Check:
    """Return the result of a check of the free bytes of a folder's disk."""
    evidence = f"{size(free_bytes)} free at {folder}"
    remedy = f"free space (du -sh {shlex.quote(str(folder))}/*) or --runs-dir FOLDER on another disk"
    if free_bytes < _SMALLEST_DISK_BYTES:
        return failed("disk", f"{evidence}: a run needs at least 1 GiB", remedy, free_bytes=free_bytes)
    if free_bytes < _SMALL_DISK_BYTES:
        return warned("disk", f"{evidence}: checkpoints may fill it", remedy, free_bytes=free_bytes)
    return passed("disk", evidence, free_bytes=free_bytes)


def nearest_existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    folder = folder.absolute()
    return next((one for one in (folder, *folder.parents) if one.exists()), folder)


def check_open_files(context: DoctorContext) -> Check:
    """Warn where the soft limit of open files is below 4096."""
    with contextlib.suppress(ImportError):
        import resource

        return judge_open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))
    return skipped("open_files", f"no such limit on {context.hardware.platform}")


def judge_open_files(soft: int, hard: int) -> Check:
    """Return the result of a check of the limits of open files; a negative number is no limit."""
    if soft < 0:
        return passed("open_files", "no limit")
    if soft >= _FEW_FILES:
        return passed("open_files", f"limit {soft}", soft_limit=soft)
    evidence = f'limit {soft}: "Too many open files" with many workers'
    if 0 <= hard < _FEW_FILES:
        remedy = f"the hard limit is {hard}: docker run --ulimit nofile=65536, LimitNOFILE= in systemd"
    else:
        remedy = f"ulimit -n {65536 if hard < 0 else min(hard, 65536)}"
    return warned("open_files", evidence, remedy, soft_limit=soft)

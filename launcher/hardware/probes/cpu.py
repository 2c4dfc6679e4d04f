"""Probe the processor: cores, limits on their use, NUMA nodes, and the instructions that matter for training."""

from __future__ import annotations

import os
from typing import Literal

from ..record import Cpu, NumaNode
from .cgroups import cpu_quota
from .sources import Sources, cpu_list, read_text, to_integer

_Limit = Literal["logical cores", "affinity", "cgroup quota", "SLURM_CPUS_PER_TASK"]


def detect(sources: Sources) -> Cpu:
    """Return the CPU; `usable_cpus` is the smallest of cores, affinity, cgroup quota and SLURM_CPUS_PER_TASK."""
    blocks = _cpuinfo(sources)
    flags = frozenset(
        flag for key in ("flags", "Features") for flag in (blocks[0].get(key, "") if blocks else "").split()
    )
    online = sources.text("/sys/devices/system/cpu/online")
    logical_cores = len(cpu_list(online)) if online else len(blocks) or os.cpu_count() or 1
    affinity = sources.affinity()
    quota = cpu_quota(sources)
    per_task = sources.integer("SLURM_CPUS_PER_TASK")
    usable, limited_by = usable_cpus(logical_cores, affinity, quota, per_task)
    apple = sources.platform == "darwin"
    return Cpu(
        model=_model(sources, blocks[0] if blocks else {}),
        architecture=sources.architecture,
        physical_cores=sources.psutil.cpu_count(logical=False),
        logical_cores=logical_cores,
        affinity=None if affinity is None else tuple(sorted(affinity)),
        cgroup_quota_cpus=quota,
        slurm_cpus_per_task=per_task,
        usable_cpus=usable,
        limited_by=limited_by,
        numa_nodes=_numa_nodes(sources),
        bf16=bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})
        or (apple and sources.sysctl("hw.optional.arm.FEAT_BF16") == "1"),
        amx="amx_bf16" in flags or "amx_int8" in flags,
        avx512="avx512f" in flags,
        performance_cores=_performance_cores(sources),
    )


def usable_cpus(
    logical_cores: int, affinity: frozenset[int] | None, quota: float | None, per_task: int | None
) -> tuple[float, _Limit]:
    """Return the smallest limit and its name; among equal ones the first, which is the most permanent."""
    limits: list[tuple[float, _Limit]] = [(float(logical_cores), "logical cores")]
    if affinity:
        limits.append((float(len(affinity)), "affinity"))
    if quota:
        limits.append((quota, "cgroup quota"))
    if per_task and per_task > 0:
        limits.append((float(per_task), "SLURM_CPUS_PER_TASK"))
    return min(limits, key=lambda limit: limit[0])


def _cpuinfo(sources: Sources) -> list[dict[str, str]]:
    blocks = []
    for paragraph in (sources.text("/proc/cpuinfo") or "").split("\n\n"):
        pairs = (line.partition(":") for line in paragraph.splitlines())
        block = {key.strip(): value.strip() for key, _, value in pairs}
        if "processor" in block:
            blocks.append(block)
    return blocks


def _model(sources: Sources, block: dict[str, str]) -> str:
    """Return the name of the model. On ARM it is not in cpuinfo, but sometimes in the device tree or firmware."""
    if sources.platform == "darwin":
        return sources.sysctl("machdep.cpu.brand_string") or sources.architecture
    named = block.get("model name") or sources.text("/sys/firmware/devicetree/base/model")
    return (named or sources.text("/sys/class/dmi/id/product_name") or sources.architecture).rstrip("\0")


def _performance_cores(sources: Sources) -> int | None:
    """Return the number of fast cores of a hybrid CPU, or None where all are alike or nothing is known.

    macOS counts them; Linux lists those of Intel, and gives each ARM core a capacity of which the fastest have 1024.
    """
    if sources.platform == "darwin":
        levels, fast = (
            to_integer(sources.sysctl("hw.nperflevels")),
            to_integer(sources.sysctl("hw.perflevel0.physicalcpu")),
        )
        return fast if (levels or 0) > 1 else None
    folders = [one for one in sources.folder("/sys/devices/system/cpu") if one.name.removeprefix("cpu").isdigit()]
    named = sources.text("/sys/devices/cpu_core/cpus")
    if named:
        fast_cpus = {f"cpu{number}" for number in cpu_list(named)}
    else:
        capacities = {one.name: to_integer(read_text(one / "cpu_capacity")) or 0 for one in folders}
        fast_cpus = {name for name, value in capacities.items() if value >= 0.8 * max(capacities.values()) > 0}
    if not fast_cpus or len(fast_cpus) == len(folders):
        return None
    cores = {
        read_text(one / "topology" / "thread_siblings_list") or one.name for one in folders if one.name in fast_cpus
    }
    return len(cores) or None


def _numa_nodes(sources: Sources) -> tuple[NumaNode, ...]:
    nodes = []
    for folder in sources.folder("/sys/devices/system/node"):
        index = to_integer(folder.name.removeprefix("node"))
        if index is None:
            continue
        meminfo = (read_text(folder / "meminfo") or "").splitlines()
        total = next((to_integer(line.split()[-2]) for line in meminfo if "MemTotal:" in line), None)
        nodes.append(
            NumaNode(
                index=index,
                cpus=cpu_list(read_text(folder / "cpulist") or ""),
                memory_total_bytes=None if total is None else total * 1024,
            )
        )
    return tuple(nodes)

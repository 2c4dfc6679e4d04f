"""Check what shares the CPUs now: other programs, a quota that stops this process, a hypervisor."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...training.common.program.shown import printable
from ..hardware.probes.cgroups import cpu_throttling
from ..hardware.probes.sources import Sources
from .check import Check, DoctorContext, passed, skipped, warned

_LOOK_SECONDS = 0.3
_BUSY_CORES = 0.1
"""Cores that others use, from which on threads of a training wait for one."""
_SHOWN = 3
_THROTTLED, _STOLEN = 0.05, 0.05
"""Shares of the periods, and of the time of all CPUs."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """Another program and the cores that it used."""

    process: int
    name: str
    cores: float


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """What the CPUs did during a look."""

    cpus: int
    programs: tuple[Program, ...]
    used_cores: float
    """By all that runs, this process too."""
    stolen_cores: float
    load: float | None
    """Threads that run or want to, on average over a minute."""
    throttled: float | None
    """Of the periods of the quota in which this cgroup ran, those in which it was stopped; None without a quota."""


def check_sharing(context: DoctorContext) -> Check:
    """Warn where other programs use the CPUs now, a quota stops this process, or a hypervisor takes CPUs away."""
    import psutil

    try:
        return judge_sharing(look(_LOOK_SECONDS), context.environ)
    except (OSError, psutil.Error) as error:
        return skipped("sharing", f"the system does not say who uses the CPUs: {error}")


def look(seconds: float) -> Sharing:
    """Return what uses the CPUs of this machine for so long from now on."""
    import psutil

    began, before, all_before = time.monotonic(), _cpu_seconds(), psutil.cpu_times()
    time.sleep(seconds)
    wall = time.monotonic() - began
    after, all_after = _cpu_seconds(), psutil.cpu_times()
    programs = [
        Program(process=process, name=name, cores=(used - before.get(process, (name, used))[1]) / wall)
        for process, (name, used) in after.items()
        if process != os.getpid()
    ]

    def spent(*kinds: str) -> float:
        return sum(getattr(all_after, kind, 0.0) - getattr(all_before, kind, 0.0) for kind in kinds) / wall

    sources = Sources()
    return Sharing(
        cpus=psutil.cpu_count() or 1,
        programs=tuple(sorted(programs, key=lambda program: -program.cores)),
        used_cores=spent("user", "nice", "system", "irq", "softirq"),
        stolen_cores=spent("steal"),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        throttled=cpu_throttling(sources),
    )


def _cpu_seconds() -> dict[int, tuple[str, float]]:
    import psutil

    found = {}
    for one in psutil.process_iter(["name", "cpu_times"]):
        if (times := one.info["cpu_times"]) is not None:  # nobody may ask for it
            found[one.pid] = (one.info["name"] or "?", times.user + times.system)
    return found


def judge_sharing(found: Sharing, environ: Mapping[str, str]) -> Check:
    """Return the result of a check of what shares the CPUs."""
    busy = [program for program in found.programs if program.cores >= _BUSY_CORES]
    others = sum(program.cores for program in found.programs)
    # What runs in other containers uses the CPUs too and is no process here; small sums are errors of counting.
    unseen = found.used_cores - others
    load = "" if found.load is None else f"; load {found.load:.1f}"
    evidence, remedies = [], []
    if busy:
        evidence.append(f"other programs use {others:.1f} of {found.cpus} CPUs: {_listed(busy)}")
        remedies.append(_remedy(busy, environ))
    elif unseen >= 0.5:
        evidence.append(
            f"{unseen:.1f} of {found.cpus} CPUs are used by what is no process here, such as other containers"
        )
        remedies.append("ask for CPUs of your own: docker run --cpuset-cpus, a Guaranteed pod with whole CPUs")
    if found.throttled is not None and found.throttled >= _THROTTLED:
        evidence.append(f"the cgroup's quota stopped it in {100 * found.throttled:.0f} % of its periods so far")
        remedies.append("fewer threads (--threads 1), or more CPUs: docker run --cpus=N, resources.limits.cpu")
    if found.stolen_cores >= _STOLEN * found.cpus:
        evidence.append(f"the hypervisor gives {found.stolen_cores:.1f} of {found.cpus} CPUs to others")
        remedies.append("a machine with dedicated CPUs")
    measured = {"others_cores": others, "used_cores": found.used_cores, "stolen_cores": found.stolen_cores}
    if found.load is not None:
        measured["load"] = found.load
    if found.throttled is not None:
        measured["throttled_share"] = found.throttled
    if evidence:
        return warned("sharing", "; ".join(evidence) + load, "; ".join(remedies), **measured)
    return passed("sharing", f"nothing else uses the {found.cpus} CPUs now{load}", **measured)


def _listed(busy: Sequence[Program]) -> str:
    shown = [f"{printable(program.name)} ({program.process}) {program.cores:.1f}" for program in busy[:_SHOWN]]
    more = len(busy) - _SHOWN
    return ", ".join([*shown, f"{more} more"] if more > 0 else shown)


def _remedy(busy: Sequence[Program], environ: Mapping[str, str]) -> str:
    told = f"end or renice what is yours (renice -n 19 -p {' '.join(str(one.process) for one in busy[:_SHOWN])})"
    chosen = next((name for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if environ.get(name)), None)
    if chosen:
        return f"{told}, and unset {chosen}, so that the training's threads suit themselves to them"
    return f"{told}; the training's threads suit themselves to the rest"

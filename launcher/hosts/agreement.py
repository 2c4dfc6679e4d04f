"""One plan for several hosts: what all must have alike is chosen for all, the rest for each; with its reasons. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ...training.common.errors import UserError, flag_of
from ...training.common.plan_file import Choice, LaunchPlan
from ..hardware.record import Hardware
from ..plan.make_plan import make_plan
from ..plan.records import Intent
from .host_list import NamedHost

_PRECISIONS = ("no", "fp16", "bf16", "fp8")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the hosts meet, and why there."""

    address: str
    port: int
    reason: str


def plans_of(
    hosts: Sequence[NamedHost], machines: Sequence[Hardware], intent: Intent, place: Place
) -> list[LaunchPlan]:
    """Return the plan of each host. Raises `UserError` that names the host for which there is none."""
    alone = [_alone(host, hardware, intent) for host, hardware in zip(hosts, machines, strict=True)]
    reasons: dict[str, tuple[str, str]] = {
        "num_machines": ("the hosts that were named", ", ".join(host.name for host in hosts)),
        "main_process_ip": (place.reason, f"{hosts[0].name}: {place.address}"),
        "main_process_port": ("free on the first host", f"{hosts[0].name}: {place.port}"),
        "machine_rank": ("the place in the list of hosts", ""),
    }
    counts = _counts(hosts, alone, intent)
    listing = ", ".join(f"{host.name} {count}" for host, count in zip(hosts, counts, strict=True))
    reasons["num_processes"] = ("those of all hosts", listing)
    shared: dict[str, Any] = {"processes_per_host": counts, "num_processes": None}
    shared["device"] = _device(hosts, alone)
    for name in ("mixed_precision", "compile"):
        chosen = [getattr(plan, name) for plan in alone]
        least = min(chosen, key=_PRECISIONS.index) if name == "mixed_precision" else min(chosen)
        shared[name] = least
        if len(set(chosen)) > 1:
            weakest = hosts[chosen.index(least)].name
            reasons[name] = ("all hosts compute alike, so as the one that can do least", f"{weakest}: {least}")
    places: dict[str, Any] = {
        "num_machines": len(hosts),
        "main_process_ip": place.address,
        "main_process_port": place.port,
    }
    plans = []
    for rank, (host, hardware) in enumerate(zip(hosts, machines, strict=True)):
        fixed = replace(intent, **shared, **places, machine_rank=rank)
        plan = _named(host, hardware, fixed)
        plans.append(_with_reasons(plan, intent, alone[rank], reasons))
    return plans


def _alone(host: NamedHost, hardware: Hardware, intent: Intent) -> LaunchPlan:
    """Return the plan of a host as if it were the only one."""
    only: dict[str, Any] = {
        "num_machines": 1,
        "machine_rank": None,
        "main_process_ip": None,
        "num_processes": host.processes,
    }
    return _named(host, hardware, replace(intent, **only, processes_per_host=None, share_weights=None))


def _named(host: NamedHost, hardware: Hardware, intent: Intent) -> LaunchPlan:
    try:
        return make_plan(hardware, intent)
    except UserError as error:
        raise UserError(f"{host.name}: {error}", option=error.option) from None


def _counts(hosts: Sequence[NamedHost], alone: Sequence[LaunchPlan], intent: Intent) -> tuple[int, ...]:
    """Return the processes of each host: as said with it, in all, or one for each of its devices."""
    given = intent.processes_per_host
    if given is not None:
        if len(given) not in (1, len(hosts)):
            raise UserError(
                f"--processes-per-host {','.join(map(str, given))}: {len(given)} numbers for {len(hosts)} hosts; give one for "
                "all, or one for each"
            )
        return tuple(given) if len(given) == len(hosts) else tuple(given) * len(hosts)
    if any(host.processes for host in hosts) or intent.num_processes is None:
        return tuple(host.processes or plan.num_processes for host, plan in zip(hosts, alone, strict=True))
    if intent.num_processes % len(hosts):
        raise UserError(
            f"--num-processes {intent.num_processes}: not divisible by {len(hosts)} hosts; say how many on each, "
            "--processes-per-host 2,1"
        )
    return (intent.num_processes // len(hosts),) * len(hosts)


def _device(hosts: Sequence[NamedHost], alone: Sequence[LaunchPlan]) -> str:
    kinds = {plan.device: host.name for host, plan in zip(hosts, alone, strict=True)}
    if len(kinds) > 1:
        listing = ", ".join(f"{name} {kind}" for kind, name in kinds.items())
        raise UserError(
            f"slipway launch --hosts: the hosts have different kinds of devices ({listing}), which cannot train one model "
            "together: leave hosts out, or --device cpu"
        )
    return alone[0].device


def _with_reasons(
    plan: LaunchPlan, intent: Intent, alone: LaunchPlan, reasons: dict[str, tuple[str, str]]
) -> LaunchPlan:
    """Return a plan whose choices say why they are so: found by looking at the hosts, unless a person has fixed them."""
    found = []
    for choice in plan.choices:
        reason, fact = reasons.get(choice.field, ("", ""))
        if reason and getattr(intent, choice.field, None) is None:
            choice = Choice(field=choice.field, origin="detected", fixed=False, reason=reason, fact=fact)
        elif choice.field in ("device", "mixed_precision", "compile"):
            choice = alone.choice(choice.field) or choice
        found.append(choice)
    return replace(plan, choices=tuple(found))


def launch_arguments(plan: LaunchPlan, intent: Intent) -> list[str]:
    """Return the options of `slipway launch` that start a plan on its host: what is alike on all, and what a person fixed."""
    wanted: dict[str, Any] = {one.name: getattr(intent, one.name) for one in fields(Intent)}
    counts = plan.processes_per_host or (plan.local_processes,)
    for name in ("num_machines", "machine_rank", "main_process_ip", "main_process_port", "device", "mixed_precision"):
        wanted[name] = getattr(plan, name)
    wanted |= {"processes_per_host": counts, "num_processes": None}
    words = []
    for name, value in wanted.items():
        if isinstance(value, bool):
            words.append(flag_of(name) if value else flag_of(name).replace("--", "--no-", 1))
        elif value is not None:
            text = ",".join(f"{one:g}" for one in value) if isinstance(value, tuple) else str(value)
            words += [flag_of(name), text]
    return words

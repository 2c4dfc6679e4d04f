"""(Hardware, Intent) -> LaunchPlan, every choice with its reason and the fact behind it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ...training.common.conversion import problem_of_count
from ...training.common.errors import UserError, flag_of
from ...training.common.plan_file import PLAN_SCHEMA_VERSION, LaunchPlan
from ...training.common.settings import Setting
from ..common.addresses import parse_address
from ..hardware.record import Hardware
from .devices import Slot, choose_device, choose_machines, is_filled
from .host import choose_affinity, choose_environment, choose_threads, choose_workers
from .model import choose_batches, choose_compile, choose_precision, choose_sharding, choose_shares, size
from .records import Intent, Reasoned, choice, reason_of
from .selection import choose_processes, counts_of_hosts, lines_of_left_out, select

__all__ = ["Intent", "LaunchPlan", "make_plan"]

_POSITIVE = (
    "num_processes",
    "num_machines",
    "parameters",
    "global_batch_size",
    "micro_batch_size",
    "gradient_accumulation",
    "threads_per_process",
)
# Variables of another launch that would change this one.
_LEFTOVERS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "PET_NNODES", "PET_NPROC_PER_NODE", "PET_RDZV_ENDPOINT")


def make_plan(hardware: Hardware, intent: Intent | None = None) -> LaunchPlan:
    """Return the plan for a machine; what `intent` fixes stays fixed.

    Raises `UserError` for what cannot work (3 processes on 2 GPUs); what works badly is a warning in the plan.
    """
    intent = intent or Intent()
    try:
        return _make_plan(hardware, intent)
    except UserError as error:
        setting = intent.setting(error.option) if error.option else None
        raise UserError(_placed(str(error), setting), option=error.option) from None


def _make_plan(hardware: Hardware, intent: Intent) -> LaunchPlan:
    _check(intent)
    device = choose_device(hardware, intent)
    machines = choose_machines(hardware, intent)
    counts = counts_of_hosts(intent, machines.count.value)
    if counts:  # as if all machines were as this one
        intent = replace(intent, num_processes=counts[machines.rank.value] * machines.count.value)
    selection = select(hardware, intent, device.value, machines.count.value)
    processes = choose_processes(hardware, intent, device.value, machines.count.value, selection)
    local = processes.value // machines.count.value
    if counts:
        processes = replace(processes, value=sum(counts))
    used = selection.used[:local]
    precision = choose_precision(hardware, intent, device.value, used)
    weights = choose_shares(intent, used, counts or (local,) * machines.count.value, precision.value)
    micro, accumulation = choose_batches(intent, weights.value)
    affinity = choose_affinity(hardware, device.value, used, local)
    workers = choose_workers(hardware, intent, device.value, local, affinity.value)
    threads = choose_threads(hardware, intent, workers, local, affinity.value)
    chosen: dict[str, Reasoned[Any]] = {
        "device": device,
        "num_processes": processes,
        "num_machines": machines.count,
        "machine_rank": machines.rank,
        "main_process_ip": machines.ip,
        "main_process_port": machines.port,
        "rdzv_backend": machines.rendezvous,
        "mixed_precision": precision,
        "sharding": choose_sharding(hardware, intent, device.value, used, processes.value),
        "compile": choose_compile(hardware, intent, device.value, used),
        "micro_batch_size": micro,
        "gradient_accumulation": accumulation,
        "share_weights": weights,
        "threads_per_process": threads,
        "num_workers": workers,
        "cpu_affinity": affinity,
    }
    decisions = {name: _traced(name, decision, intent) for name, decision in chosen.items()}
    threads = decisions["threads_per_process"]
    environment = choose_environment(hardware, device.value, used, local, machines.count.value, threads)
    named = {**decisions, **environment}
    return LaunchPlan(
        schema_version=PLAN_SCHEMA_VERSION,
        global_batch_size=intent.global_batch_size,
        processes_per_host=counts if len(set(counts)) > 1 else (),
        devices=tuple(slot.device for slot in used),
        environment={name: decision.value for name, decision in environment.items()},
        accelerate=dict(intent.sections()),
        choices=tuple(choice(name, decision) for name, decision in named.items()),
        warnings=(
            *(one for decision in named.values() for one in decision.warnings),
            *lines_of_left_out(hardware, intent, device.value, selection),
            *_busy(used),
            *_leftovers(hardware),
        ),
        **{name: decision.value for name, decision in decisions.items()},
    )


def _traced(name: str, decision: Reasoned[Any], intent: Intent) -> Reasoned[Any]:
    """Return a decision of the user's with the level and place it comes from; any other as it is."""
    setting = intent.setting(name)
    if not decision.fixed or setting is None:
        return decision
    warnings = tuple(_placed(warning, setting) for warning in decision.warnings)
    return replace(decision, origin=setting.origin, reason=reason_of(setting), warnings=warnings)


def _placed(message: str, setting: Setting | None) -> str:
    """Return a message about a value with the file or variable that holds it before it, if it is no flag."""
    return f"{setting.place}: {message}" if setting and setting.place else message


def _check(intent: Intent) -> None:
    for name in (*_POSITIVE, "num_workers"):
        if problem := problem_of_count(name, getattr(intent, name), int(name in _POSITIVE)):
            raise UserError(f"{flag_of(name)}: {problem}", option=name)
    port = intent.main_process_port
    if port is not None and not 0 <= port < 1 << 16:
        raise UserError(f"--main-process-port {port}: must be below 65536", option="main_process_port")
    if intent.main_process_ip is not None:
        _check_address(intent.main_process_ip)


def _check_address(text: str) -> None:
    """Raise `UserError` for what can be no host, and for a host with more about it."""
    try:
        found = parse_address(text)
    except UserError as error:
        raise UserError(f"--main-process-ip {error}", option="main_process_ip") from None
    if found.port is not None:
        wanted = f"--main-process-ip {found.host} --main-process-port {found.port}"
        raise UserError(f"--main-process-ip {text}: the port has its own option: {wanted}", option="main_process_ip")
    if found.host != text:
        raise UserError(f"--main-process-ip {text!r}: write {found.host}", option="main_process_ip")


def _busy(used: Sequence[Slot]) -> Iterator[str]:
    for slot in used:
        pids = ", ".join(str(process.pid) for process in slot.accelerator.processes)
        if pids or is_filled(slot):
            free = f": {size(slot.memory_bytes or 0)} are free" if is_filled(slot) else ""
            user = f"process {pids}" if pids else "another process"
            yield f"{slot.accelerator.kind} {slot.device.index} ({slot.device.name}) is in use by {user}{free}"


def _leftovers(hardware: Hardware) -> tuple[str, ...]:
    torchrun = hardware.scheduler.torchrun
    if torchrun:
        return (f"this is already rank {torchrun.rank} of a torchrun: a launch from here starts another world",)
    found = [name for name in _LEFTOVERS if name in hardware.environment.variables]
    return (f"{', '.join(found)} in the environment can change the launch: unset {' '.join(found)}",) if found else ()

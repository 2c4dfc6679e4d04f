"""Which devices a plan uses, one process for each, and how fast they are together by estimate. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

from ...training.common.apportion import apportion
from ...training.common.errors import UserError, flag_of
from ...training.common.plan_file import Device, Precision
from ..hardware.record import Hardware
from ..hardware.speed import relative_times
from .devices import Slot, described_slots, is_filled, not_served, offered_slots, slots
from .model import choose_compile, choose_precision, choose_sharding, fits_memory, size
from .records import Intent, Reasoned, fixed

_MOST_PROCESSES = 1 << 16  # no training has had as many; a plan lists them one by one
_WORTH = 1.1
"""Devices are left out where a step takes no longer than so many times without them: estimates are not better than that."""
_SHARDED = 1.25
"""What a step costs where parameters are gathered from the other devices, taken for links of PCIe."""
_MOST_KINDS = 5  # of which all combinations are compared


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The devices of this machine that a plan uses, those that it leaves out, and why, a line for each."""

    used: tuple[Slot, ...]
    left_out: tuple[str, ...] = ()
    fact: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    used: tuple[Slot, ...]
    does_fit: bool
    time: float
    """Of a step, beside that of the fastest device alone."""
    equal_time: float
    """The same where each process computes as many samples."""


def select(hardware: Hardware, intent: Intent, device: Device, machines: int) -> Selection:
    """Return the devices to train on: those that are free and do not slow the others down, or as many as a person wants.

    Raises `UserError` where none of them can do what the person wants.
    """
    if device == "cpu":
        return Selection(used=())
    found = offered_slots(hardware, device, intent.gpu_ids)
    if intent.gpu_ids is not None or not can_leave_out(hardware, device):
        return Selection(used=tuple(found[: _wanted(intent, machines, len(found))]))
    free = [slot for slot in found if not is_filled(slot)] or found
    wanted = _wanted(intent, machines, len(found))
    if wanted is not None:
        used = _fastest(hardware, intent, device, free, wanted) if wanted <= len(free) else tuple(found[:wanted])
        return Selection(used=used, left_out=tuple(_filled(found, used)))
    best, everything = _compare(hardware, intent, device, tuple(free), machines)
    filled = tuple(_filled(found, best.used))
    weak = [slot for slot in free if slot not in best.used]
    return Selection(
        used=best.used,
        left_out=(*filled, *_weak(weak, best, everything, len(free) * machines)),
        fact=f"{best.time:.2f} of the time of one, by estimate" if best.time < math.inf and _differ(best.used) else "",
        warnings=_equal_shares_slow(hardware, intent, device, best, machines),
    )


def can_leave_out(hardware: Hardware, device: Device) -> bool:
    """Return whether a process can be told which devices of a kind to count."""
    applied = [mask.variable for mask in hardware.environment.masks if mask.applied]
    if device == "rocm":  # the two count by different numbers
        return "ROCR_VISIBLE_DEVICES" not in applied
    return device == "cuda" or (device == "xpu" and not applied)


def _wanted(intent: Intent, machines: int, found: int) -> int | None:
    """Return how many devices a person wants here, by a number of processes or by weights for all of them."""
    if intent.num_processes is not None:
        return max(1, intent.num_processes // machines)
    weights = intent.share_weights
    return found if weights is not None and len(weights) == found * machines else None


def _own_precisions(hardware: Hardware, intent: Intent, device: Device, used: Sequence[Slot]) -> list[Precision]:
    """Return the precision of each device alone."""
    return [_own_precision(hardware, intent, device, slot) for slot in used]


def _own_precision(hardware: Hardware, intent: Intent, device: Device, slot: Slot) -> Precision:
    try:
        return choose_precision(hardware, intent, device, [slot]).value
    except UserError:  # it cannot do what is asked
        return choose_precision(hardware, Intent(), device, [slot]).value


def _fastest(hardware: Hardware, intent: Intent, device: Device, free: Sequence[Slot], wanted: int) -> tuple[Slot, ...]:
    """Return the fastest devices in their order; the first ones where they are alike or nothing is known."""
    times = relative_times([slot.accelerator for slot in free], _own_precisions(hardware, intent, device, free))
    if times is None:
        return tuple(free[:wanted])
    best = sorted(range(len(free)), key=lambda position: times[position])[:wanted]
    return tuple(free[position] for position in sorted(best))


def _differ(used: Sequence[Slot]) -> bool:
    return len({slot.device.name for slot in used}) > 1


def _compare(
    hardware: Hardware, intent: Intent, device: Device, free: tuple[Slot, ...], machines: int
) -> tuple[_Candidate, _Candidate | None]:
    """Return the devices that train fastest together, the fewest that do, and all of them where those can be judged."""
    unknown = _Candidate(used=free, does_fit=True, time=math.inf, equal_time=math.inf)
    alone = relative_times([slot.accelerator for slot in free], _own_precisions(hardware, intent, device, free))
    if alone is None or not _differ(free):
        return unknown, None
    names = list(dict.fromkeys(slot.device.name for slot in free))
    names.sort(key=lambda name: min(time for time, slot in zip(alone, free, strict=True) if slot.device.name == name))
    some = (
        chain.from_iterable(combinations(names, count) for count in range(1, len(names) + 1))
        if len(names) <= _MOST_KINDS
        else (names[:count] for count in range(1, len(names) + 1))
    )
    judged = [
        candidate
        for chosen in some
        if (candidate := _judge(hardware, intent, device, free, frozenset(chosen), machines)) is not None
    ]
    if not judged:
        return unknown, None
    fitting = [one for one in judged if one.does_fit] or [one for one in judged if len(one.used) == len(free)] or judged
    fastest = min(one.time for one in fitting)
    best = min((one for one in fitting if one.time <= _WORTH * fastest), key=lambda one: (len(one.used), one.time))
    return best, next((one for one in judged if len(one.used) == len(free)), None)


def _judge(
    hardware: Hardware, intent: Intent, device: Device, free: tuple[Slot, ...], names: frozenset[str], machines: int
) -> _Candidate | None:
    """Return how devices of these names do together; None where they cannot do what a person wants."""
    used = tuple(slot for slot in free if slot.device.name in names)
    try:
        precision = choose_precision(hardware, intent, device, used).value
        choose_compile(hardware, intent, device, used)
        sharding = choose_sharding(hardware, intent, device, used, len(used) * machines).value
    except UserError:
        return None
    every = [slot.accelerator for slot in free]
    own = _own_precisions(hardware, intent, device, free)
    alone = relative_times(every, own)
    # The others stand beside them so that the unit is the same for all candidates.
    together = relative_times(every * 2, [*own, *[precision] * len(free)])
    if alone is None or together is None:
        return None
    unit = min(together[: len(free)])
    times = [time / unit for time, slot in zip(together[len(free) :], free, strict=True) if slot.device.name in names]
    cost = 1.0 if sharding == "replicate" else _SHARDED
    shares = _shares_of_time(intent.global_batch_size, [1 / time for time in times] * machines)[: len(times)]
    return _Candidate(
        used=used,
        does_fit=fits_memory(hardware, intent, device, used, len(used) * machines, sharding),
        time=cost * machines * max(share * time for share, time in zip(shares, times, strict=True)),
        equal_time=cost * max(times) / len(times),
    )


def _shares_of_time(batch: int | None, speeds: Sequence[float]) -> list[float]:
    """Return each process's part of a step by its speed; whole samples where the batch is known."""
    if batch is None:
        return [speed / sum(speeds) for speed in speeds]
    return [count / batch for count in apportion(batch, speeds)]


def _weak(weak: Sequence[Slot], best: _Candidate, everything: _Candidate | None, processes: int) -> Iterator[str]:
    for slot in weak:
        name = f"{slot.accelerator.kind} {slot.device.index} ({slot.device.name}) is left out"
        back = f"--num-processes {processes} takes it"
        if everything is None:
            yield f"{name}: it cannot do what is asked of the others; {back}"
        elif not everything.does_fit and best.does_fit:
            yield f"{name}: the training state does not fit with it ({size(slot.memory_bytes or 0)}); {back}"
        else:
            fastest = best.used[0].device.name
            yield (
                f"{name}: it would hold up the others. By estimate a step takes {best.time:.2f} of the time of one "
                f"{fastest} without it, {everything.equal_time:.2f} with it and equal shares, {everything.time:.2f} with "
                f"shares by speed; {back}"
            )


def _equal_shares_slow(
    hardware: Hardware, intent: Intent, device: Device, best: _Candidate, machines: int
) -> tuple[str, ...]:
    """Return a warning where a script that gives all processes as many samples is faster on fewer devices."""
    if best.time == math.inf or not _differ(best.used):
        return ()
    names = frozenset(slot.device.name for slot in best.used)
    fewer = [
        one
        for name in names
        if (one := _judge(hardware, intent, device, best.used, frozenset({name}), machines)) and one.does_fit
    ]
    faster = min(fewer, key=lambda one: one.equal_time, default=None)
    if faster is None or faster.equal_time >= best.equal_time:
        return ()
    return (
        f"the devices differ: Slipway's training gives them shares by speed; a script that gives each process as many "
        f"samples takes {best.equal_time:.2f} of the time of one {faster.used[0].device.name}, and "
        f"{faster.equal_time:.2f} with --num-processes {len(faster.used) * machines}",
    )


def _filled(found: Sequence[Slot], used: Sequence[Slot]) -> Iterator[str]:
    for slot in found:
        if is_filled(slot) and slot not in used:
            pids = ", ".join(str(process.pid) for process in slot.accelerator.processes)
            yield (
                f"{slot.accelerator.kind} {slot.device.index} ({slot.device.name}) is left out: "
                f"{size(slot.memory_bytes or 0)} of {size(slot.total_bytes or 0)} are free"
                f"{f', process {pids} has the rest' if pids else ''}"
            )


def counts_of_hosts(intent: Intent, machines: int) -> tuple[int, ...]:
    """Return the processes of each machine where a person has said them, else nothing. Raises `UserError`."""
    given = intent.processes_per_host
    if given is None:
        return ()
    text = ",".join(map(str, given))
    if not given or min(given) < 1:
        raise UserError(f"--processes-per-host {text}: must be 1 or more on each", option="processes_per_host")
    if len(given) not in (1, machines):
        raise UserError(
            f"--processes-per-host {text}: {len(given)} numbers for {machines} machine{'s' * (machines > 1)}; give one for "
            "all, or one for each",
            option="processes_per_host",
        )
    listed = given if len(given) == machines else given * machines
    if intent.num_processes not in (None, sum(listed)):
        raise UserError(
            f"--num-processes {intent.num_processes}: --processes-per-host {text} makes {sum(listed)}; give one of them",
            option="num_processes",
        )
    return listed


def choose_processes(
    hardware: Hardware, intent: Intent, device: Device, machines: int, selection: Selection
) -> Reasoned[int]:
    """Return the processes of all machines: one for each device, one on the CPU.

    Raises `UserError` for a number that cannot work: Accelerate floor-divides it over the machines.
    """
    processes = _processes(hardware, intent, device, machines, selection)
    if processes.value > _MOST_PROCESSES:
        option = "num_machines" if intent.num_processes is None else "num_processes"
        number = machines if intent.num_processes is None else intent.num_processes
        raise UserError(
            f"{flag_of(option)} {number}: a launch has at most {_MOST_PROCESSES} processes, not {processes.value}",
            option=option,
        )
    return processes


def _processes(
    hardware: Hardware, intent: Intent, device: Device, machines: int, selection: Selection
) -> Reasoned[int]:
    if machines > 1 and device == "mps":
        raise UserError("several machines: an Apple GPU trains in one process; use --device cpu or --num-machines 1")
    _check_ids(hardware, intent.gpu_ids, device)
    wanted = intent.num_processes
    if wanted is None:
        if device == "cpu":
            fact = f"{hardware.cpu.usable_cpus:g} usable CPUs, limited by {hardware.cpu.limited_by}"
            return Reasoned(value=machines, reason="one process uses all cores by threads", fact=fact)
        used = selection.used
        local = 1 if device == "mps" else len(used)
        words = "each device" if intent.gpu_ids is None else "each device of --gpu-ids"
        reason = f"one for {words}" if machines == 1 else f"one for {words} of {machines} machines like this one"
        fact = described_slots(used) + (f": {selection.fact}" if selection.fact else "")
        warnings = (*_mig_note(used), *selection.warnings)
        return Reasoned(value=local * machines, reason=reason, fact=fact, warnings=warnings)
    if wanted % machines:
        raise UserError(
            f"--num-processes {wanted}: not divisible by {machines} machines; give a multiple, "
            f"such as {machines * max(1, wanted // machines)}",
            option="num_processes",
        )
    local = wanted // machines
    if device == "cpu":
        usable = hardware.cpu.usable_cpus
        note = (f"{local} processes share {usable:g} usable CPUs: they take turns",) if local > max(1, usable) else ()
        return fixed(wanted, f"{usable:g} usable CPUs", note)
    found = offered_slots(hardware, device, intent.gpu_ids)
    if local > len(found):
        where = "" if machines == 1 else " on each machine"
        hint = f"give at most {len(found) * machines}, or --device cpu"
        raise UserError(
            f"--num-processes {wanted}: {local} processes{where}, but {len(found)} {device} "
            f"device{'s' * (len(found) != 1)} ({described_slots(found)}); {hint}",
            option="num_processes",
        )
    return fixed(wanted, described_slots(selection.used), _mig_note(selection.used))


_MASKS: dict[Device, str] = {
    "rocm": "HIP_VISIBLE_DEVICES",
    "xpu": "ZE_AFFINITY_MASK",
    "npu": "ASCEND_RT_VISIBLE_DEVICES",
    "hpu": "HABANA_VISIBLE_MODULES",
}


def _check_ids(hardware: Hardware, ids: Sequence[int] | None, device: Device) -> None:
    """Raise `UserError` for numbers of `--gpu-ids` that are not those of devices a plan for this kind can take."""
    if ids is None:
        return
    text = ",".join(map(str, ids))
    where = f"--gpu-ids {text}"
    if device != "cuda":
        instead = f"; write {_MASKS[device]}={text} before the command" if device in _MASKS else "; leave it out"
        instead += ", by the module ids of `hl-smi -Q index,module_id -f csv`" if device == "hpu" else ""
        raise UserError(f"{where}: devices of {device} are not chosen by it{instead}", option="gpu_ids")
    there = [slot.device.index for slot in slots(hardware, device)]
    if not ids or len(set(ids)) < len(ids):
        raise UserError(f"{where}: name each GPU once, such as {','.join(map(str, there))}", option="gpu_ids")
    if missing := [str(number) for number in ids if number not in there]:
        raise UserError(
            f"{where}: no GPU {', '.join(missing)} that can be used; there are {', '.join(map(str, there))}",
            option="gpu_ids",
        )


def _mig_note(used: Sequence[Slot]) -> tuple[str, ...]:
    pieces = [one for slot in used for one in slot.accelerator.mig_slices]
    if not pieces or not used[0].device.part:
        return ()
    return (
        "a process uses one MIG slice, and NCCL joins no slices of one GPU: the other slices stay free "
        "for other runs (CUDA_VISIBLE_DEVICES=MIG-...)",
    )


def lines_of_left_out(hardware: Hardware, intent: Intent, device: Device, selection: Selection) -> Iterator[str]:
    """Yield why devices are not used, for those that nobody left out by a number of processes or by `--gpu-ids`."""
    if device != "cpu" and intent.gpu_ids is None:
        for why in not_served(hardware, device):
            yield f"{why}; it is left out"
        yield from selection.left_out

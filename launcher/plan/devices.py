"""Where a plan runs: machines, the kind of device, the devices, the number of processes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...training.common.errors import UserError
from ...training.common.plan_file import Device, PlannedDevice
from ...training.common.program.launched import first_host, job_port
from ..common.ports import DEFAULT_PORT
from ..hardware.probes.torch_build import lacks, supports
from ..hardware.record import Accelerator, Hardware
from .records import Intent, Reasoned, default, fixed


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A device as a process sees it, and the accelerator it is or is a part of."""

    device: PlannedDevice
    accelerator: Accelerator
    memory_bytes: int | None  # free where known; None: not known
    total_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Machines:
    """The machines of a launch and where they meet."""

    count: Reasoned[int]
    rank: Reasoned[int]
    ip: Reasoned[str | None]
    port: Reasoned[int | None]
    rendezvous: Reasoned[str]


def choose_machines(hardware: Hardware, intent: Intent) -> Machines:
    """Return the machines: those of the SLURM job, else one. Raises `UserError` where nothing says where they meet."""
    slurm = hardware.scheduler.slurm
    listed = len(intent.processes_per_host or ())
    if intent.num_machines is not None:
        count = fixed(intent.num_machines)
    elif listed > 1:
        count = fixed(listed, f"{listed} numbers of processes")
    elif slurm and (slurm.node_count or 1) > 1:
        nodes = slurm.node_count or 1
        inside = slurm.place == "step"
        note = _too_many_tasks(slurm.task_count, nodes) if inside else (_start_by_srun(nodes),)
        count = Reasoned(
            value=nodes,
            reason="all nodes of the SLURM job take part",
            fact=f"SLURM job {slurm.job_id}, {nodes} nodes ({slurm.place})",
            warnings=note,
        )
    else:
        count = default(1, "nothing names another machine", "no SLURM job of several nodes")
    if count.value == 1:
        alone = "one machine"
        return Machines(
            count=count,
            rank=_given(intent.machine_rank, 0, alone, count=1),
            ip=default(None, alone) if intent.main_process_ip is None else fixed(intent.main_process_ip),
            port=default(None, alone) if intent.main_process_port is None else fixed(intent.main_process_port),
            rendezvous=default("static", alone) if intent.rdzv_backend is None else fixed(intent.rdzv_backend),
        )
    return _several(hardware, intent, count)


def _several(hardware: Hardware, intent: Intent, count: Reasoned[int]) -> Machines:
    slurm, pod = hardware.scheduler.slurm, hardware.scheduler.kubernetes
    if slurm and slurm.node_rank is not None and 0 <= slurm.node_rank < count.value:
        rank = Reasoned(value=slurm.node_rank, reason="SLURM counts the nodes", fact=f"node {slurm.node_rank}")
    elif (index := pod.completion_index if pod else None) is not None and 0 <= index < count.value:
        rank = Reasoned(
            value=index, reason="Kubernetes counts the pods of the job", fact=f"JOB_COMPLETION_INDEX={index}"
        )
    else:
        rank = Reasoned(
            value=0,
            reason="nothing says which machine this is, so it is the first",
            warnings=("each of the other machines needs its own --machine-rank (1, 2, ...)",),
        )
    first = first_host(slurm.node_list) if slurm and slurm.node_list else None
    ip: Reasoned[str | None]
    if intent.main_process_ip is not None:
        ip = fixed(intent.main_process_ip)
    elif first and slurm:
        ip = Reasoned(value=first, reason="the first node of the job", fact=f"node list {slurm.node_list}")
    else:
        raise UserError(f"{count.value} machines: nothing says where they meet; give --main-process-ip HOST")
    port: Reasoned[int | None] = default(DEFAULT_PORT, "torchrun's own")
    if slurm and slurm.job_id.isdecimal():
        reason = "jobs that share a node meet at different ports"
        port = Reasoned(value=job_port(int(slurm.job_id)), reason=reason, fact=f"SLURM job {slurm.job_id}")
    return Machines(
        count=count,
        rank=rank if intent.machine_rank is None else _given(intent.machine_rank, 0, "", count=count.value),
        ip=ip,
        port=port if intent.main_process_port is None else fixed(intent.main_process_port),
        rendezvous=fixed(intent.rdzv_backend)
        if intent.rdzv_backend
        else default("static", "the number of machines is fixed; c10d is for a world that may change"),
    )


def _given(value: int | None, otherwise: int, reason: str, count: int) -> Reasoned[int]:
    if value is None:
        return default(otherwise, reason)
    if not 0 <= value < count:
        raise UserError(
            f"--machine-rank {value}: {count} machine{'s' * (count > 1)} count from 0 to {count - 1}",
            option="machine_rank",
        )
    return fixed(value)


def _start_by_srun(nodes: int) -> str:
    return f"this is no step of the job: `slipway launch` starts one launcher a node by `srun --nodes={nodes}`"


def _too_many_tasks(tasks: int | None, nodes: int) -> tuple[str, ...]:
    if tasks is None or tasks <= nodes:
        return ()
    return (f"the step has {tasks} tasks on {nodes} nodes, each would start a launcher: use --ntasks-per-node=1",)


def names_host(node_list: str, host: str) -> bool:
    """Return whether a SLURM node list names a host, with its domain or without: `node[01-04,7],login` names `node03`."""
    short = host.partition(".")[0]
    for prefix, ranges, suffix in re.findall(r"([^,\[\]]+)(?:\[([0-9,-]*)\])?([^,\[\]]*)", node_list):
        number = re.fullmatch(re.escape(prefix) + r"([0-9]{1,9})" + re.escape(suffix), short)
        if not ranges and prefix + suffix in (host, short):
            return True
        if number is None:
            continue
        for first, last in re.findall(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", ranges):
            in_range = int(first) <= int(number[1]) <= int(last or first)
            if in_range and number[1] == f"{int(number[1]):0{len(first)}d}":  # as many zeros in front
                return True
    return False


def choose_device(hardware: Hardware, intent: Intent) -> Reasoned[Device]:
    """Return the kind of device: what torch can use of what is visible, else the CPU.

    Raises `UserError` where the user's kind is absent, hidden, or not served by this torch.
    """
    torch = hardware.torch
    visible = list(dict.fromkeys(one.kind for one in hardware.environment.visible))
    usable = [kind for kind in visible if slots(hardware, kind) and torch.fits and supports(torch, kind)]
    if intent.device == "cpu":
        return fixed(intent.device, hardware.cpu.model)
    if intent.device is not None:
        if intent.device in usable:
            return fixed(intent.device, described_slots(slots(hardware, intent.device)))
        raise UserError(f"--device {intent.device}: {_why_not(hardware, intent.device)}", option="device")
    if usable:
        return Reasoned(
            value=usable[0],
            reason="the accelerator that this torch can use",
            fact=described_slots(slots(hardware, usable[0])),
        )
    if not hardware.accelerators:
        warnings = () if torch.version else (f"{torch.problem or 'torch is not installed'}: {torch.remedy or ''}",)
        return Reasoned(value="cpu", reason="no accelerator", fact=hardware.cpu.model, warnings=warnings)
    why = _why_not(hardware, hardware.accelerators[0].kind)
    return Reasoned(value="cpu", reason="no accelerator can be used", fact=why, warnings=(f"the CPU trains: {why}",))


def _why_not(hardware: Hardware, kind: Device) -> str:
    torch = hardware.torch
    if not any(one.kind == kind for one in hardware.accelerators):
        there = ", ".join(dict.fromkeys(one.kind for one in hardware.accelerators)) or "no accelerator"
        return f"this machine has {there}"
    if not any(seen.kind == kind for seen in hardware.environment.visible):
        masks = " ".join(mask.variable for mask in hardware.environment.masks if mask.applied)
        return f"the masks of the environment hide every {kind} device{masks and f': unset {masks}'}"
    if torch.problem:
        return f"{torch.problem}: {torch.remedy}" if torch.remedy else torch.problem
    if unserved := list(not_served(hardware, kind)):
        return "; ".join(unserved)
    return f"torch {torch.version or 'is not installed and'} cannot use {kind}"


def slots(hardware: Hardware, kind: Device) -> list[Slot]:
    """Return what a process sees of a kind, in its order; at most one MIG slice, since a process can use one."""
    by_index = {one.index: one for one in hardware.accelerators if one.kind == kind}
    found = []
    for seen in hardware.environment.visible:
        if seen.kind != kind or seen.index not in by_index:
            continue
        accelerator = by_index[seen.index]
        if _lacks(hardware, accelerator):
            continue
        found.append(_slot(hardware, accelerator, seen.part))
        if accelerator.mig_slices and seen.part:
            return found[-1:]
    return found


def not_served(hardware: Hardware, kind: Device) -> Iterator[str]:
    """Yield why this torch cannot use visible devices of a kind, a line for each: they are left out of every plan."""
    seen = {one.index for one in hardware.environment.visible if one.kind == kind}
    for accelerator in hardware.accelerators:
        if accelerator.kind == kind and accelerator.index in seen and (why := _lacks(hardware, accelerator)):
            yield why


def _lacks(hardware: Hardware, accelerator: Accelerator) -> str | None:
    """Return why torch has no code for a device; None also where ROCr's mask keeps it from being left out."""
    masks = [mask.variable for mask in hardware.environment.masks if mask.applied]
    is_counted = accelerator.kind == "rocm" and "ROCR_VISIBLE_DEVICES" in masks
    return None if is_counted else lacks(hardware.torch, accelerator)


def offered_slots(hardware: Hardware, kind: Device, ids: Sequence[int] | None) -> list[Slot]:
    """Return the devices of a kind that a plan may take: those with these numbers that are there, in their order, else all."""
    found = slots(hardware, kind)
    if ids is None:
        return found
    return [slot for number in ids for slot in found if slot.device.index == number]


def is_filled(slot: Slot) -> bool:
    """Return whether less than a quarter of a device's own memory is free: another process computes there."""
    free, total = slot.memory_bytes, slot.total_bytes
    return not slot.accelerator.unified_memory and free is not None and bool(total) and free < (total or 0) // 4


def _slot(hardware: Hardware, accelerator: Accelerator, part: str | None) -> Slot:
    piece = next((one for one in accelerator.mig_slices if one.uuid == part), None)
    uuid = piece.uuid if piece else accelerator.uuid
    device = PlannedDevice(
        index=accelerator.index, part=part, uuid=uuid, name=piece.name if piece else accelerator.name
    )
    total, free = accelerator.memory_total_bytes, accelerator.memory_free_bytes
    if piece:
        total = free = piece.memory_total_bytes
    elif accelerator.unified_memory:
        total = hardware.memory.usable_bytes
        free = min(total, hardware.memory.available_bytes)
    elif part is not None and accelerator.tiles > 1:
        total = None if total is None else total // accelerator.tiles
        free = None if free is None else free // accelerator.tiles
    return Slot(device=device, accelerator=accelerator, memory_bytes=total if free is None else free, total_bytes=total)


def described_slots(found: Sequence[Slot]) -> str:
    """Return what devices these are: `2 x NVIDIA L4`."""
    names = [slot.device.name for slot in found]
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))

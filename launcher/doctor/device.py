"""Checks of accelerators: the torch build, the visible devices, P2P between them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...training.common.plan_file import LaunchPlan
from ..hardware.record import Hardware, Link
from .check import Check, DoctorContext, failed, passed, skipped, warned


def check_torch(context: DoctorContext) -> Check:
    """Fail where the installed torch cannot use the accelerators of this machine."""
    hardware = context.hardware
    build = hardware.torch
    if not build.fits:
        return failed("torch", build.problem or f"torch {build.version} does not fit", build.remedy)
    made_for = {"cpu": "CPU-only", None: "unknown build"}.get(build.kind, f"{build.kind} {build.toolkit_version or ''}")
    drivers = "".join(f", {driver.kind} driver {driver.version}" for driver in hardware.drivers)
    here = ", ".join(dict.fromkeys(device.name for device in hardware.accelerators)) or "no accelerator here"
    return passed("torch", f"torch {build.version} ({made_for.strip()}), {here}{drivers}")


def check_devices(context: DoctorContext) -> Check:
    """Fail where an accelerator is lost or hidden, warn where a mask is doubtful or a planned device is in use."""
    hardware = context.hardware
    if not hardware.accelerators and not hardware.faults:
        return skipped("devices", "no accelerator here")
    lost = [f"the {fault.probe} probe could not answer: {fault.message}" for fault in hardware.faults]
    if lost:
        remedy = "run the vendor's tool (nvidia-smi, rocm-smi, npu-smi); a lost device needs a reset or a reboot"
        return failed("devices", "; ".join(lost), remedy)
    visible = hardware.environment.visible
    masks = [mask for mask in hardware.environment.masks if mask.note]
    unset = f"unset {' '.join(mask.variable for mask in hardware.environment.masks if mask.applied)}"
    notes = "; ".join(f"{mask.variable}={mask.value}: {mask.note}" for mask in masks)
    counted = f"{len(visible)} of {len(hardware.accelerators)} visible"
    if not visible:
        return failed("devices", f"the masks of the environment hide every accelerator{notes and f': {notes}'}", unset)
    if masks:
        return warned("devices", f"{counted}; {notes}", unset, visible_devices=len(visible))
    busy = [*_busy_devices(hardware, context.plan)]
    if busy:
        evidence = f"{counted}; " + "; ".join(f"{name} is in use by process {pids}" for name, pids in busy)
        remedy = f"wait for them or end them: ps -fp {','.join(pids.replace(' ', '') for _, pids in busy)}"
        return warned("devices", evidence, remedy, visible_devices=len(visible))
    names = [device.name for device in hardware.accelerators]
    found = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    return passed("devices", f"{counted}: {found}", visible_devices=len(visible))


def _busy_devices(hardware: Hardware, plan: LaunchPlan) -> Iterator[tuple[str, str]]:
    """Yield (device, process ids) of planned devices that other processes use."""
    planned = {device.index for device in plan.devices}
    for device in hardware.accelerators:
        if device.kind == plan.device and device.index in planned and device.processes:
            yield f"{device.kind} {device.index}", ", ".join(str(process.pid) for process in device.processes)


def check_p2p(context: DoctorContext) -> Check:
    """Warn where planned GPUs have no P2P between them: collectives can hang unless NCCL_P2P_DISABLE is set."""
    hardware, plan = context.hardware, context.plan
    planned = {device.index for device in plan.devices}
    if len(plan.devices) < 2:
        return skipped("p2p", "one GPU is planned" if plan.devices else "no GPU is planned")
    links = [link for link in hardware.links if link.kind == plan.device and {link.first, link.second} <= planned]
    if not links:
        return skipped("p2p", f"the links between {plan.device} devices are not known; the all-reduce tries them")
    without = [link for link in links if link.p2p is False]
    counted = {"links": len(links), "links_without_p2p": len(without)}
    if without:
        reason = f" ({without[0].p2p_reason})" if without[0].p2p_reason else ""
        evidence = f"no P2P between {_pairs(without)}{reason}"
        if plan.environment.get("NCCL_P2P_DISABLE") == "1":
            remedy = "export NCCL_P2P_DISABLE=1 (planned: `slipway launch` sets it)"
            return warned("p2p", f"{evidence}; NCCL_P2P_DISABLE=1 is planned", remedy, **counted)
        value = plan.environment.get("NCCL_P2P_DISABLE")
        evidence += f", and NCCL_P2P_DISABLE={value}: collectives can hang"
        return warned("p2p", evidence, "export NCCL_P2P_DISABLE=1", **counted)
    unknown = [link for link in links if link.p2p is None]
    if unknown:
        return passed("p2p", f"not known between {_pairs(unknown)}; the all-reduce tries it", **counted)
    kinds = ", ".join(dict.fromkeys(link.type for link in links))
    return passed("p2p", f"{len(links)} link{'s' * (len(links) > 1)} ({kinds}), all with P2P", **counted)


def _pairs(links: list[Link]) -> str:
    listed = ", ".join(f"{link.first}-{link.second}" for link in links[:4])
    return listed if len(links) <= 4 else f"{listed} and {len(links) - 4} more pairs"

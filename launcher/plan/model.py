"""How the model is computed: precision, sharding, compiling, shares and micro-batches. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...training.common.apportion import apportion, plan_micro_batches
from ...training.common.errors import UserError
from ...training.common.plan_file import Device, Precision, Sharding
from ..hardware.record import Hardware
from ..hardware.speed import relative_times
from .devices import Slot
from .records import Intent, Reasoned, default, fixed

GIB = 1 << 30
# float32 weights, gradients and the two moments of Adam: 4 bytes x (1 + 1 + 2), also under mixed precision.
STATE_BYTES_PER_PARAMETER = 16
# Of what Slipway's own training does not have: weights and gradients in float32 with both moments in 8 bits (Dettmers et al.
# 2022), frozen weights in bf16 or in 4 bits with adapters of a few percent (Hu et al. 2021, Dettmers et al. 2023).
_SMALLER = (("an 8-bit optimizer", 10), ("LoRA on bf16 weights", 2.5), ("LoRA on 4-bit weights", 1))
# What is left of a device for activations, buffers of the collectives and the allocator's waste.
ACTIVATIONS_SHARE = 0.2
_SHARDED: tuple[Device, ...] = ("cuda", "rocm", "xpu", "npu", "hpu")
_COMPILED: tuple[Device, ...] = ("cpu", "cuda", "rocm", "xpu", "hpu")
_TRITON_CAPABILITY = (7, 0)  # Inductor's code for NVIDIA GPUs goes through Triton, which serves Volta and newer


def choose_precision(hardware: Hardware, intent: Intent, device: Device, used: Sequence[Slot]) -> Reasoned[Precision]:
    """Return a precision that every device computes natively; raises `UserError` for one that no device can."""
    if intent.mixed_precision is not None:
        return _asked_precision(hardware, intent.mixed_precision, device, used)
    if device == "cpu":
        there = "bf16 instructions are there: --mixed-precision bf16" if hardware.cpu.bf16 else "no bf16 instructions"
        return default("no", "a CPU trains in full precision unless asked", f"{hardware.cpu.model}: {there}")
    fact = ", ".join(dict.fromkeys(slot.device.name for slot in used))
    without = sorted({slot.device.name for slot in used if not slot.accelerator.bf16})
    if not without:
        return Reasoned(value="bf16", reason="half the memory traffic and no loss scaling", fact=f"native bf16: {fact}")
    lack = f"no native bf16: {', '.join(without)}"
    if device in ("cuda", "rocm", "xpu") and all(slot.accelerator.fp16 for slot in used):
        if against := next((why for slot in used if (why := _against_fp16(slot))), None):
            return Reasoned(value="no", reason=against, fact=lack)
        return Reasoned(value="fp16", reason="every device computes it; bf16 would be emulated", fact=lack)
    return Reasoned(value="no", reason="full precision is what this device surely trains in", fact=lack)


def _against_fp16(slot: Slot) -> str | None:
    """Return why fp16 is not planned on a GPU that has it, or None. GTX 16xx have half precision without tensor cores."""
    capability, name = slot.accelerator.compute_capability, slot.device.name
    if "GTX 16" in name:
        return f"fp16 is known to give bad numbers on {name}"
    if capability is not None and capability < (7, 0) and capability != (6, 0):  # a P100 saves memory traffic
        return f"{name} computes fp16 no faster"
    return None


def _asked_precision(hardware: Hardware, asked: Precision, device: Device, used: Sequence[Slot]) -> Reasoned[Precision]:
    where = f"--mixed-precision {asked}"
    if asked == "no":
        return fixed(asked)
    if device == "cpu":
        if asked == "bf16":
            slow = f"{where}: {hardware.cpu.model} has no bf16 instructions, so it is emulated and slow; use no"
            return fixed(asked, hardware.cpu.model, () if hardware.cpu.bf16 else (slow,))
        raise UserError(
            f"{where}: a CPU does not train in {asked} (it would silently be fp32); use no or bf16",
            option="mixed_precision",
        )
    lacking = sorted({slot.device.name for slot in used if not getattr(slot.accelerator, asked)})
    if not lacking:
        needs = f"{where} needs torchao, Transformer Engine or MS-AMP" if asked == "fp8" else ""
        return fixed(asked, f"native {asked}: {used[0].device.name}", (needs,) if needs else ())
    names = ", ".join(lacking)
    if asked == "fp8":
        raise UserError(f"{where}: {names} cannot compute fp8; use bf16, fp16 or no", option="mixed_precision")
    has_fp16 = device in ("cuda", "rocm", "xpu") and all(slot.accelerator.fp16 for slot in used)
    instead = "fp16" if has_fp16 and not any(_against_fp16(slot) for slot in used) else "no"
    slow = f"{where}: {names} has no native {asked}, so it is emulated and slow or refused; use {instead}"
    return fixed(asked, f"no native {asked}: {names}", (slow,))


def choose_sharding(
    hardware: Hardware, intent: Intent, device: Device, used: Sequence[Slot], world: int
) -> Reasoned[Sharding]:
    """Return replication where the training state fits one device, else FSDP2; raises `UserError` where it cannot be."""
    asked = intent.sharding
    if asked not in (None, "replicate"):
        if device not in _SHARDED:
            hint = ", or give the training script --sharding fsdp" if asked == "fsdp" else ""
            raise UserError(
                f"--sharding {asked}: not on {device} (it would silently be replicated); use replicate{hint}",
                option="sharding",
            )
        if world < 2 and not intent.sections():  # offload and DeepSpeed's own settings are for one process too
            raise UserError(
                f"--sharding {asked}: one process has nothing to share; use replicate or more processes",
                option="sharding",
            )
    if intent.parameters is None:
        if asked is not None:
            return fixed(asked)
        return default("replicate", "the model is taken to fit one device; give --parameters to have it checked")
    state = STATE_BYTES_PER_PARAMETER * intent.parameters
    memory, where = _smallest_memory(hardware, device, used, world)
    if memory is None:
        unknown = f"the memory of {where} is not known: whether {size(state)} of training state fit is not checked"
        return fixed(asked, "", (unknown,)) if asked else _with(default("replicate", "no reason to shard"), unknown)
    room = int(memory * (1 - ACTIVATIONS_SHARE))
    fits = state <= room
    fact = (
        f"{intent.parameters:,} parameters x {STATE_BYTES_PER_PARAMETER} bytes = {size(state)}; {size(room)} of {where}"
    )
    sharded = asked not in (None, "replicate") or (not fits and device in _SHARDED and world > 1)
    warnings = _too_big(hardware, device, intent.parameters, room, world if sharded else 1)
    if asked is not None:
        return fixed(asked, fact, warnings)
    if sharded:
        return Reasoned(value="fsdp", reason="the training state does not fit one device", fact=fact, warnings=warnings)
    reason = "the training state fits one device" if fits else "nothing to shard over"
    return Reasoned(value="replicate", reason=reason, fact=fact, warnings=warnings)


def fits_memory(
    hardware: Hardware, intent: Intent, device: Device, used: Sequence[Slot], world: int, sharding: Sharding
) -> bool:
    """Return whether the training state fits the smallest device; True where nothing says how large it is."""
    memory, _ = _smallest_memory(hardware, device, used, world)
    if intent.parameters is None or memory is None:
        return True
    each = -(-STATE_BYTES_PER_PARAMETER * intent.parameters // (1 if sharding == "replicate" else world))
    return each <= int(memory * (1 - ACTIVATIONS_SHARE))


def _with(decision: Reasoned[Sharding], warning: str) -> Reasoned[Sharding]:
    return Reasoned(value=decision.value, reason=decision.reason, origin=decision.origin, warnings=(warning,))


def _smallest_memory(hardware: Hardware, device: Device, used: Sequence[Slot], world: int) -> tuple[int | None, str]:
    if device == "cpu":
        available = min(hardware.memory.available_bytes, hardware.memory.usable_bytes)
        return max(0, available) // max(1, world), "the host's memory a process"
    smallest = min(used, key=lambda slot: slot.memory_bytes or 0)
    return smallest.memory_bytes, smallest.device.name


def _too_big(hardware: Hardware, device: Device, parameters: int, room: int, parts: int) -> tuple[str, ...]:
    """Return a warning where the training state in so many parts does not fit, with what else would make it fit."""
    state = STATE_BYTES_PER_PARAMETER * parameters
    each = -(-state // parts)
    if each <= room:
        return ()
    needed = f"{-(-state // room)} such devices" if room > 0 else "other devices"
    ways = [
        f"{way} ({size(need)})"
        for way, per_parameter in _SMALLER
        if (need := int(per_parameter * parameters / parts)) <= room
    ]
    free = min(hardware.memory.available_bytes, hardware.memory.usable_bytes)
    if device != "cpu" and state <= free:
        ways.append(f"offload to the host ({size(free)} free)")
    others = f"; a script that has them can use {', '.join(ways)}" if ways else ""
    return (
        f"{size(each)} of training state a process do not fit {size(room)}: it needs {needed} or a smaller model{others}",
    )


def choose_compile(hardware: Hardware, intent: Intent, device: Device, used: Sequence[Slot]) -> Reasoned[bool]:
    """Return whether torch.compile is used: only when asked; raises `UserError` where it has no backend."""
    if not intent.compile:
        if intent.compile is None:
            return default(False, "compiling costs minutes and again for each new shape; ask for it for long runs")
        return fixed(False)
    if device not in _COMPILED:
        raise UserError(f"--compile: torch.compile has no proven backend on {device}; leave it out", option="compile")
    if hardware.platform == "win32":
        raise UserError("--compile: Inductor needs Linux here; leave it out", option="compile")
    for slot in used:
        capability = slot.accelerator.compute_capability
        if device == "cuda" and capability is not None and capability < _TRITON_CAPABILITY:
            shown = ".".join(map(str, capability))
            raise UserError(
                f"--compile: {slot.device.name} has compute capability {shown}, Triton needs 7.0", option="compile"
            )
    return fixed(True, "Inductor" if device != "hpu" else "the backend of Gaudi")


def choose_shares(
    intent: Intent, used: Sequence[Slot], counts: Sequence[int], precision: Precision
) -> Reasoned[tuple[float, ...]]:
    """Return a weight for each process: equal, or the ratio of the speeds where the devices differ, by estimate.

    `counts` are the processes of each machine.
    """
    world = sum(counts)
    if intent.share_weights is not None:
        weights = intent.share_weights
        if len(weights) != world:
            raise UserError(
                f"--share-weights: {len(weights)} weights for {world} processes; give one for each",
                option="share_weights",
            )
        if not all(math.isfinite(one) and one >= 0 for one in weights) or sum(weights) <= 0:
            raise UserError("--share-weights: must be at least 0 and not all 0", option="share_weights")
        return fixed(weights)
    equal = (1.0,) * world
    names = list(dict.fromkeys(slot.device.name for slot in used))
    if len(names) < 2 or len(set(counts)) > 1:
        return default(equal, "the processes have the same devices")
    times = relative_times([slot.accelerator for slot in used], [precision] * len(used))
    if times is None:
        unknown = f"how fast {' and '.join(names)} are is not known: shares are equal; measure, then --share-weights"
        return Reasoned(value=equal, reason="no ratio of speeds is known", fact=", ".join(names), warnings=(unknown,))
    weights = tuple(max(0.01, round(min(times) / time, 2)) for time in times) * len(counts)
    return Reasoned(
        value=weights,
        reason="unequal devices share by speed, as compute and memory bandwidth let expect; a measured speed is better",
        fact=", ".join(names),
    )


def choose_batches(intent: Intent, weights: tuple[float, ...]) -> tuple[Reasoned[int | None], Reasoned[int]]:
    """Return micro-batch size and gradient accumulation; what is given sets the other, by the largest share.

    Raises `UserError` for both at once, and for more micro-batches than samples.
    """
    micro, accumulation, batch = intent.micro_batch_size, intent.gradient_accumulation, intent.global_batch_size
    if micro is not None and accumulation is not None:
        raise UserError(
            "--micro-batch-size and --gradient-accumulation set each other: give one of them",
            option="micro_batch_size",
        )
    to_integer: Reasoned[int | None] = default(None, "a process computes its complete share at once")
    if batch is None:
        if micro is not None:
            return fixed(micro), default(1, "follows from the batch, which is not given")
        return to_integer, default(1, "complete shares") if accumulation is None else fixed(accumulation)
    # As the training will: it refuses what cannot be cut.
    planned_size, planned_accumulation = plan_micro_batches(batch, weights, micro, accumulation)
    largest = max(apportion(batch, weights))
    note = f"global batch {batch}, largest share {largest}"
    idle = batch < sum(one > 0 for one in weights)
    warnings = (f"a global batch of {batch} leaves some of {len(weights)} processes without a sample",) if idle else ()
    if micro is not None:
        reason = "follows from the micro-batch size"
        return fixed(micro, note), Reasoned(value=planned_accumulation, reason=reason, fact=note, warnings=warnings)
    if accumulation is not None:
        reason = "follows from the accumulation"
        size_ = Reasoned[int | None](value=planned_size, reason=reason, fact=note, warnings=warnings)
        return size_, fixed(accumulation, note)
    return Reasoned(value=None, reason=to_integer.reason, fact=note, origin="default", warnings=warnings), default(
        1, "complete shares"
    )


def size(value: int) -> str:
    """Return bytes for a person, in GiB."""
    return f"{value / GIB:,.1f} GiB"

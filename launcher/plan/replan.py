"""The plan of a start that goes on with an earlier one, on what the machine has now. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...training.common.errors import UserError
from ...training.common.plan_file import LaunchPlan
from ...training.common.settings import Setting
from ..hardware.record import Hardware
from .devices import Slot, choose_device, choose_machines, offered_slots
from .make_plan import make_plan
from .records import Intent, MergedIntent

_CHOSEN_NOW = ("--config", "flag", "user")
_TORCH_NAMES = {"rocm": "cuda"}


def replan(old: LaunchPlan, hardware: Hardware, intent: Intent) -> tuple[LaunchPlan, tuple[str, ...]]:
    """Return the plan of a restart on the devices that are left, and the lines that tell a person what changed.

    The intent is that of the first start; a number of processes that no longer fits falls to the devices there are. The
    kind of device and the precision stay. Raises `UserError` where no device of that kind is left, or where one of several
    machines has another number of them than before.
    """
    here = _left(old, hardware, intent) if old.device != "cpu" else []
    kept = replace(intent, device=old.device)
    if intent.gpu_ids is not None and here:
        kept = replace(kept, gpu_ids=tuple(slot.device.index for slot in here))
    if old.num_machines == 1 and 0 < len(here) < (intent.num_processes or 0):
        kept = replace(kept, num_processes=len(here))
    if intent.share_weights is not None and here:
        used = here[: kept.num_processes or len(here)]
        kept = replace(kept, share_weights=_weights_left(old, intent.share_weights, used))
    plan = make_plan(hardware, kept)
    if plan.num_processes == old.num_processes:
        return _as_chosen(old, plan), ()
    gone = _gone(old, here)
    count = f"{len(here)} {old.device} device{'s' * (len(here) != 1)}" + (
        f", without {', '.join(gone)}" if gone else ""
    )
    if old.num_machines > 1:
        raise UserError(
            f"this machine has {count}, and {plan.local_processes} processes where the {old.num_machines} machines "
            f"count on {old.local_processes}: start again on all of them"
        )
    return _as_chosen(old, plan), (f"{count}: {plan.num_processes} processes instead of {old.num_processes}",)


def _left(old: LaunchPlan, hardware: Hardware, intent: Intent) -> list[Slot]:
    """Return the devices that the plan may take: of those that a person named, the ones that are left.

    The driver numbers anew what is left, so they are found by their UUIDs where they have one.
    """
    named = {device.uuid for device in old.devices}
    if intent.gpu_ids is None or None in named:
        return offered_slots(hardware, old.device, intent.gpu_ids)
    return [slot for slot in offered_slots(hardware, old.device, None) if slot.device.uuid in named]


def _weights_left(old: LaunchPlan, weights: Sequence[float], used: Sequence[Slot]) -> tuple[float, ...] | None:
    """Return the weights of the devices that are left, None where they are not known or are all 0."""
    if len(weights) == len(used):
        return tuple(weights)
    by_uuid = {device.uuid: weight for device, weight in zip(old.devices, weights, strict=False) if device.uuid}
    left = tuple(by_uuid.get(slot.device.uuid or "", -1.0) for slot in used)
    return left if all(weight >= 0 for weight in left) and sum(left) > 0 else None


def _gone(old: LaunchPlan, here: Sequence[Slot]) -> list[str]:
    """Return the devices of a plan that are not there any more; those without a UUID cannot be recognised."""
    found = {slot.device.uuid for slot in here}
    return [
        f"{old.device} {device.index} ({device.name})"
        for device in old.devices
        if device.uuid and device.uuid not in found
    ]


def _as_chosen(old: LaunchPlan, plan: LaunchPlan) -> LaunchPlan:
    """Return a plan with what was chosen for the first start by devices or free memory that are others by now."""
    kept: dict[str, Any] = {"mixed_precision": old.mixed_precision}
    if plan.num_processes > 1 or old.sharding == "replicate":
        kept["sharding"] = old.sharding
    changed = {name for name, value in kept.items() if getattr(plan, name) != value}
    choices = tuple(
        replace(one, reason="as before the restart", fact="") if one.field in changed else one for one in plan.choices
    )
    return replace(plan, choices=choices, **kept)


@dataclass(frozen=True, kw_only=True)
class EarlierRun:
    """A run that is to go on: its folder, the kind of device it ran on as torch calls it, its number of processes."""

    folder: Path
    device: str
    world_size: int


def as_before(intent: MergedIntent, hardware: Hardware, earlier: EarlierRun) -> tuple[MergedIntent, tuple[str, ...]]:
    """Return an intent that starts a run as before where no flag says otherwise, and the lines that tell what changed.

    On another kind of device the number of processes is left to the plan, and on fewer devices it is theirs.
    """
    device, world_size, where = earlier.device, earlier.world_size, str(earlier.folder / "run.json")
    if device == "cpu" and not _is_chosen_now(intent, "device"):
        intent = _fixed(intent, "device", "cpu", where)
    now = choose_device(hardware, intent).value
    same_kind = _TORCH_NAMES.get(now, now) == device
    if not same_kind or _is_chosen_now(intent, "num_processes") or choose_machines(hardware, intent).count.value > 1:
        return intent, ()
    available = world_size if now == "cpu" else len(offered_slots(hardware, now, intent.gpu_ids))
    intent = _fixed(intent, "num_processes", min(world_size, available), where)
    if available == world_size:
        return intent, ()
    there = f"{available} {now} device{'s' * (available != 1)}"
    if available < world_size:
        return intent, (f"{there}: {available} processes instead of {world_size}",)
    return intent, (f"{there}, {world_size} used as before; --num-processes {available} uses all",)


def _is_chosen_now(intent: Intent, name: str) -> bool:
    setting = intent.setting(name)
    return setting is not None and setting.value is not None and setting.origin in _CHOSEN_NOW


def _fixed(intent: MergedIntent, name: str, value: Any, where: str) -> MergedIntent:
    settings = {**intent.settings, name: Setting(value=value, origin="user", place=where)}
    return replace(intent, settings=settings, **{name: value})

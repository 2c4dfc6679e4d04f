"""What was chosen for the user before the first step, told with its reasons."""

from __future__ import annotations

from ..config.options import TrainingConfig
from ..config.plan import Plan
from ..config.recipe import Recipe
from ..devices.manager import DeviceManager
from ..observers.events import Decision, Observer
from .planning import launched_compile_backend


def tell_decisions(
    observer: Observer,
    config: TrainingConfig,
    recipe: Recipe,
    plan: Plan,
    settings: dict[str, str],
    notes: tuple[str, ...],
) -> None:
    """Tell the batch rule, what became of the wish for several devices, what the data and the device's settings are."""
    resolved = recipe.resolved
    processes = f"{resolved.num_processes} process{'es' if resolved.num_processes > 1 else ''}"
    told = [
        Decision(
            kind="batch_rule",
            reason=(
                f"{recipe.batch_rule}: global batch {resolved.global_batch_size} from base {recipe.batch_size} on "
                f"{processes}, learning rate x {resolved.learning_rate_factor:g} ({recipe.learning_rate_rule})"
            ),
            fields={
                "rule": recipe.batch_rule,
                "global_batch_size": resolved.global_batch_size,
                "learning_rate": recipe.peak_learning_rate,
            },
        )
    ]
    fallback = DeviceManager.multi_gpu_fallback(config.device) if config.multi_gpu else None
    if fallback:
        told.append(Decision(kind="device_fallback", reason=fallback.message, warning=True, fields=fallback.as_dict()))
    count = DeviceManager.device_count(plan.device)
    if config.multi_gpu and plan.world_size == 1 and count > 1:
        start = f"accelerate launch --multi_gpu --num_processes {count} bin/train.py"
        reason = f"--multi-gpu: one process drives one of {count} {plan.device} devices; to use all: {start}"
        told.append(Decision(kind="idle_devices", reason=reason, warning=True, fields={"devices": count}))
    backend = launched_compile_backend()
    if backend is not None and plan.compile_backend is None:
        why = "--no-compile" if config.compile is False else "with FSDP2 it is not done"
        reason = f"the launch asks for torch.compile ({backend}), but {why}: steps run as written"
        told.append(Decision(kind="not_compiled", reason=reason, warning=True, fields={"backend": backend}))
    told += [Decision(kind="data_note", reason=note, fields={}) for note in notes]
    told += [
        Decision(kind="device_setting", reason=f"{name} {reason}", fields={"setting": name})
        for name, reason in settings.items()
    ]
    for decision in told:
        observer.on_decision(decision)

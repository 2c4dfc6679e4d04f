"""Reports before the first step of a run: what was chosen for the user and why, and what to expect."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten

from torch import nn

from ..batches.loader import Loader
from ..config.plan import Plan
from ..config.recipe import Recipe
from ..data.prepared.prepare import Preparation
from ..data.prepared.prepared import DataFacts
from ..data.specs import SYNTHETIC
from ..devices.manager import DeviceManager, describe_idle_devices
from ..loop.trainer import Trainer
from ..observers.events import Decision, Observer, RunStart
from ..step.micro_batch.search import has_batch_statistics
from ..tasks.classes import find_majority
from ..tasks.classification import ClassificationTask
from ..tasks.task import Task
from .planning import launched_compile_backend
from .training_config import TrainingConfig

_COPIES = 7
"""Of the weights: two moments, the best of run and stage and the weights themselves in a checkpoint, and `best` and `last`."""

_FEW_STEPS = 10
"""With fewer steps in an epoch, several processes are reported to gain little."""


def announce_run(trainer: Trainer, name: str) -> None:
    """Report to a trainer's observers what is about to be trained, and what to expect of it."""
    observer, description = trainer.runtime.observer, trainer.task.describe()
    observer.on_run_start(
        RunStart(
            name=name,
            folder=trainer.saving.folder or Path(),
            recipe=trainer.recipe,
            plan=trainer.plan,
            description=description,
            num_parameters=trainer.parameters.num_parameters,
            num_stages=len(trainer.recipe.stages),
        )
    )
    for note in description.get("notes", ()):
        observer.on_decision(Decision(kind="data_note", reason=note, fields={}))
    for remark in (
        *_of_samples(trainer.loader),
        *_remarks(
            trainer.model,
            num_samples=trainer.task.num_samples("train"),
            num_steps=trainer.steps_per_epoch,
            num_processes=trainer.runtime.ranks.size,
        ),
    ):
        observer.on_decision(remark)


def report_decisions(
    observer: Observer,
    config: TrainingConfig,
    recipe: Recipe,
    plan: Plan,
    settings: dict[str, str],
) -> None:
    """Report the batch rule, a fall-back to one device, a refusal to compile, settings of the device."""
    resolved = recipe.resolved
    processes = f"{resolved.num_processes} process{'es' if resolved.num_processes > 1 else ''}"
    decisions = [
        Decision(
            kind="batch_rule",
            reason=(
                f"{recipe.batch_rule}: global batch {resolved.global_batch_size} from base {recipe.batch_size} on "
                f"{processes}, learning rate x {resolved.batch_size_factor:g} ({recipe.learning_rate_rule})"
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
        decisions.append(
            Decision(kind="device_fallback", reason=fallback.message, warning=True, fields=fallback.as_dict())
        )
    count = DeviceManager.device_count(plan.device)
    if config.multi_gpu and plan.world_size == 1 and count > 1:
        idle = describe_idle_devices(count, plan.device)
        reason = f"--multi-gpu: {idle}; in a notebook, call train(..., num_processes={count})"
        decisions.append(Decision(kind="idle_devices", reason=reason, warning=True, fields={"devices": count}))
    backend = launched_compile_backend()
    if plan.compile_backend is None and (config.compile or backend):
        why = "--no-compile" if config.compile is False else "with FSDP2 it is not done"
        named = f" ({backend})" if backend else ""
        reason = f"the launch asks for torch.compile{named}, but {why}: steps run as written"
        decisions.append(Decision(kind="not_compiled", reason=reason, warning=True, fields={"backend": backend}))
    decisions += [
        Decision(kind="device_setting", reason=f"{name} {reason}", fields={"setting": name})
        for name, reason in settings.items()
    ]
    for decision in decisions:
        observer.on_decision(decision)


def describe_methods(recipe: Recipe) -> Iterator[Decision]:
    """Yield the groups of an optimizer that is not the flat one, and the name of a schedule of the user's."""
    if (own := recipe.own_optimizer) is not None:
        factor = recipe.resolved.batch_size_factor
        groups = [
            f"{group.get('name', number)} ({group['parameters']} parameters, peak learning rate {group['lr'] * factor:.4g}"
            + (f", weight decay {group['weight_decay']:.4g})" if "weight_decay" in group else ")")
            for number, group in enumerate(own.groups, 1)
        ]
        shown = groups if len(groups) <= 4 else [*groups[:2], f"{len(groups) - 3} more", groups[-1]]
        fields = {"optimizer": own.class_name, "groups": [dict(group) for group in own.groups]}
        yield Decision(kind="optimizer", reason=f"{own.class_name}: {'; '.join(shown)}", fields=fields)
    if (schedule := recipe.own_schedule) is not None:
        reason = f"the peak learning rate is multiplied by {schedule.function} at each step, without another warm-up"
        yield Decision(kind="schedule", reason=reason, fields={"function": schedule.function})


def compare_batches(planned: int | None, recipe: Recipe) -> Iterator[Decision]:
    """Yield a warning if the launcher planned for another global batch than the recipe's, which is the one that counts."""
    size = recipe.resolved.global_batch_size
    if planned is not None and planned != size:
        reason = (
            f"the launch was planned for a global batch of {planned}, but the recipe has {size}: --global-batch-size of the "
            f"launch only plans micro-batches; --batch-size {planned} --batch-rule fixed of the training sets it"
        )
        fields = {"planned": planned, "global_batch_size": size}
        yield Decision(kind="other_batch", reason=reason, warning=True, fields=fields)


def compare_classes(recipe: Recipe, task: Task) -> Iterator[Decision]:
    """Yield what always saying one class would score, if it is most of the samples, and a warning of balancing twice."""
    strength = {"natural": 0.0, "none": 0.0, "sqrt": 0.5, "balanced": 1.0}
    balance = strength[recipe.sampling] + strength[recipe.class_weights]
    majority = find_majority(task)
    ends_with_last = recipe.stages[-1].end_with == "last"
    labels = task.labels_at_hand("train")
    if labels is not None and len(labels) > 1 and (labels == labels[0]).all():
        reason = f"all {len(labels):,} training samples are of one class, {labels[0]}, so there is nothing to tell apart: look "
        reason += "at the labels"
        yield Decision(kind="one_class", reason=reason, warning=True, fields={"class": str(labels[0])})
    if majority is not None:
        digits = 2 if majority.share < 0.995 else 4
        monitor = {"macro_f1": "macro-F1"}.get(recipe.monitor, recipe.monitor)
        reason = (
            f'class "{shorten(majority.name, 40)}" is {100 * majority.share:.{digits - 2}f} % of the training samples: always '
            f"saying it would score accuracy {_score(majority.share, digits)}, macro-F1 {_score(majority.macro_f1, 2)}; "
            f"{'the last weights are kept' if ends_with_last else f'best weights are chosen by {monitor}'}"
        )
        if balance == 0:
            reason += "; --sampling balanced or --class-weights balanced weigh the classes equally"
        fields = {"class": majority.name, "share": majority.share, "macro_f1": majority.macro_f1}
        yield Decision(kind="imbalance", reason=reason, warning=balance == 0, fields=fields)
    if ends_with_last and task.num_samples("validation"):
        reason = (
            "the last weights are kept, not those of the best epoch of the validation; --end-with best says otherwise"
        )
        yield Decision(kind="end_with", reason=reason, fields={"end_with": "last"})
    elif majority is None and isinstance(task, ClassificationTask) and task.default_monitor == recipe.monitor == "loss":
        count = task.num_samples("validation")
        reason = (
            f"best weights are chosen by the loss, of {count} validation samples; --monitor accuracy says otherwise"
        )
        yield Decision(kind="monitor", reason=reason, fields={"monitor": recipe.monitor, "validation_samples": count})
    if balance > 1:
        reason = (
            f"--sampling {recipe.sampling} and --class-weights {recipe.class_weights} together weigh a rare class more than "
            "a frequent one; one of them alone, or sqrt for both, weighs the classes equally"
        )
        fields = {"sampling": recipe.sampling, "class_weights": recipe.class_weights}
        yield Decision(kind="balanced_twice", reason=reason, warning=True, fields=fields)


def _score(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".removeprefix("0")


def describe_preparation(preparation: Preparation, source: str) -> tuple[Decision, ...]:
    """Return the decisions that report where a data set comes from."""
    count = len(preparation.data.store)
    clips = f"{count:,} clip{'' if count == 1 else 's'}"
    took = f"{preparation.seconds:.{1 if preparation.seconds >= 1 else 2}f} s"
    if preparation.is_from_cache:
        reason = f"{clips} taken from the cache (same content), {took}"
    else:
        done = "generated" if source == SYNTHETIC else "read"
        reason = f"{clips} {done}, split and normalised in {took}"
        if preparation.not_cached:
            reason += f"; not cached: {preparation.not_cached}"
        elif preparation.folder is not None:
            reason += " and cached"
    fields = {
        "clips": count,
        "seconds": round(preparation.seconds, 3),
        "from_cache": preparation.is_from_cache,
        "cache_folder": None if preparation.folder is None else str(preparation.folder),
    }
    decisions = [Decision(kind="data_prepared", reason=reason, fields=fields)]
    if preparation.damaged:
        reason = f"the cached data are damaged and were prepared anew: {preparation.damaged}"
        decisions.insert(0, Decision(kind="damaged_data_cache", reason=reason, warning=True, fields={}))
    return tuple(decisions)


def describe_data(facts: DataFacts) -> tuple[Decision, ...]:
    """Return the decisions that report what was understood of a data set, what was decided, and what is doubtful."""
    understood = () if facts.understood is None else (facts.understood,)
    return (
        *(Decision(kind="data_understood", reason=str(one), fields=asdict(one)) for one in understood),
        *(Decision(kind="data_note", reason=note, fields={}) for note in facts.notes),
        *(Decision(kind="data_doubt", reason=doubt, warning=True, fields={}) for doubt in facts.warnings),
    )


def _of_samples(loader: Loader) -> Iterator[Decision]:
    """Yield what is to be known of the randomness of training samples."""
    if loader.draws:
        yield Decision(
            kind="drawing_samples",
            reason=(
                "fetch or augment draws from torch, numpy or random, whose generators are set for each micro-batch, in the "
                "process that trains: repeatable under one plan; what is drawn from the keys is the same under any"
            ),
            fields={},
        )
    if not loader.is_repeatable:
        yield Decision(
            kind="unrepeatable_samples",
            reason=(
                "a training sample differs each time it is read, so no run can be repeated or resumed exactly: it draws from a "
                "generator of its own; draw from torch's, numpy's or Python's global one, which is set for each sample"
            ),
            warning=True,
            fields={},
        )


def _remarks(model: nn.Module, *, num_samples: int, num_steps: int, num_processes: int) -> Iterator[Decision]:
    """Yield warnings about a model and its training split, `num_steps` optimizer steps an epoch."""
    if num_processes > 1 and num_steps < _FEW_STEPS:
        yield Decision(
            kind="small_data",
            reason=(
                f"{num_samples} training samples over {num_processes} processes are {num_steps} steps an epoch and "
                f"{num_samples // num_processes} samples a process: more processes gain little here"
            ),
            warning=True,
            fields={
                "samples": num_samples,
                "steps_per_epoch": num_steps,
                "samples_per_process": num_samples // num_processes,
            },
        )
    if has_batch_statistics(model):
        yield Decision(
            kind="batch_statistics",
            reason=(
                "the model normalises over its batch: results depend on processes and micro-batches, and rank 0's "
                "running statistics are evaluated; layer or group normalisation would keep them exact"
            ),
            warning=True,
            fields={},
        )


def compare_room(folder: Path | None, model: nn.Module) -> tuple[Decision, ...]:
    """Return a warning if the disk has no room for a checkpoint and the weights of a run; `folder` is the run's."""
    if folder is None:
        return ()
    weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return ()
    needed = _COPIES * weights
    if not usage.total or usage.free >= needed:  # some network file systems report a size of 0
        return ()
    reason = (
        f"{folder}: a checkpoint, the best and the last weights take about {needed / 1e6:,.1f} MB, and {usage.free / 1e6:,.1f} "
        "MB are free: what does not fit is not saved; make room, or choose another --runs-dir"
    )
    fields = {"needed_bytes": needed, "free_bytes": usage.free}
    return (Decision(kind="little_room", reason=reason, warning=True, fields=fields),)

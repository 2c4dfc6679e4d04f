"""Opening a run: a new folder, or that of a run which is resumed, locked against a second writer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...common.conversion import whole_number
from ...common.errors import UserError
from ...common.program.private import refuse_links
from ...common.run_names import how_to_train_on, read_record
from ...config.plan import Plan
from ...config.recipe import Recipe
from ...devices.ranks import Ranks
from ...loop.state import Tensors, restore_newest
from ...loop.trainer import Trainer
from ...observers.events import Decision, Observer, RunResumed
from ...storage.checkpoint import Manifest
from ...storage.run_folder import create_run_folder
from ...storage.run_lock import RunLock, lock_run
from ...tasks.task import Task
from ..study.runs import describe_study
from ..training_config import TrainingConfig
from ..world import World
from .old_records import recipe_of_record
from .resume import Found, continued_recipe, differences_of, find_run, folder_to_resume, is_finished
from .start import Start

_LOCK_WAIT_SECONDS = 15.0
"""Time for a killed process of this run to end."""


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A run's folder, recipe and plan, and where it is resumed."""

    name: str
    folder: Path | None
    """None on ranks that do not write."""
    shared_folder: Path
    """The same on every rank; another machine may not have it."""
    lock: RunLock | None
    """Of the folder, where this rank writes it."""
    recipe: Recipe
    plan: Plan
    record: Mapping[str, Any]
    """The `run.json` of a run that is resumed; {} for a new one, and on ranks that do not write."""
    manifest: Manifest | None
    problems: tuple[str, ...]
    differences: tuple[str, ...]
    has_other_weights: bool
    """Whether the model starts from other weights than it did when the run began."""
    other_start: str | None
    """What is told where the weights that it started from are others by now, or gone; None on ranks that do not write."""
    is_older: bool
    """Whether an older checkpoint than the newest good one was asked for."""
    is_named: bool
    """Whether the checkpoint was named, so that no other may take its place."""
    is_resumed: bool
    result: dict[str, Any] | None
    """Of a run that was finished before; None for others."""


def open_run(
    config: TrainingConfig,
    name: str,
    base: Recipe,
    world: World,
    task: Task | None,
    plan_for: Callable[[Recipe], Plan],
    stack: ExitStack,
    study: Mapping[str, Any] | None = None,
    start: Start | None = None,
) -> OpenRun:
    """Return the run, on every rank; rank 0 holds its lock until `stack` is closed. A refusal leaves no folder.

    `study` are the options of a study, which is opened as a run is; None for a single run. `start` is what `--start-from`
    names now.

    The precision of the world is what a new run trains in; that of the config is what was asked for. Raises `UserError` on
    every rank if there is nothing to resume, the recipe differs, the folder cannot be made or another process writes there.
    """
    ranks = world.ranks
    found, lock, error, other_start = None, None, None, None
    if ranks.is_main and config.resume is not None:
        try:
            found, lock = _find_and_lock(config.resume, Path(config.runs_dir), name, stack)
            if start is not None:
                other_start = _check_start(start, found)
        except UserError as caught:
            error = caught
    ranks.raise_on_all_ranks(error)
    record = json.loads(ranks.broadcast_text(json.dumps(found.record if found else None)))
    recipe = base.resolve(world.num_processes, world.mixed_precision)
    differences: list[str] = []
    if record:
        _check_study(record, study or {})
        recipe, differences = continued_recipe(
            base,
            recipe_of_record(record, task),
            mixed_precision=config.mixed_precision,
            keeps_monitor=config.monitor == "auto",
            where=record["name"],
            allow_change=config.allow_recipe_change or is_finished(record),
        )
    _compare_ranks(recipe, ranks)
    plan = plan_for(recipe)
    finished = bool(record) and is_finished(record)
    if finished and differences:
        remedy = ranks.broadcast_text(how_to_train_on(found.folder.resolve()) if found else "")
        raise UserError(
            f"{record['name']}: it is finished, with another recipe ({', '.join(differences)}); {remedy}, with what else is "
            "given there"
        )
    folder = None
    if ranks.is_main:
        try:
            if found:
                folder = found.folder
            else:
                folder, lock = _new_folder(config, name, stack)
        except UserError as caught:
            error = caught
    ranks.raise_on_all_ranks(error)
    shared_folder = Path(ranks.broadcast_text(str(folder.resolve() if folder else "")))
    if not finished:
        _link_log(shared_folder, ranks.rank)
    return OpenRun(
        name=shared_folder.name,
        folder=folder,
        shared_folder=shared_folder,
        lock=lock,
        recipe=recipe,
        plan=plan,
        record=found.record if found else {},
        manifest=found.manifest if found else None,
        problems=found.problems if found else (),
        differences=tuple(differences),
        has_other_weights=bool(record) and base.task.weights_fingerprint != recipe.task.weights_fingerprint,
        other_start=other_start,
        is_older=bool(-ranks.minimum(-int(found.is_older if found else False))),
        is_named=bool(-ranks.minimum(-int(found.is_named if found else False))),
        is_resumed=bool(record),
        result=dict(record["result"]) if finished else None,
    )


def _check_start(start: Start, found: Found | None) -> str | None:
    """Return what is told of the weights that a run starts from. Raises `UserError` where it needs them as they were."""
    if found is None:
        if start.problem is not None:
            raise start.problem
        return None
    if found.is_finished:
        return None
    return start.check_resumed(found.record["recipe"], has_checkpoint=found.manifest is not None)


def _check_study(record: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise `UserError` unless what is resumed is what was asked for, a single run or a study of the same options."""
    found = record.get("study") or {}
    if found != dict(asked):
        raise UserError(
            f"{record['name']}: it is {describe_study(found)}, not {describe_study(asked)}; give the same options, or start "
            "another one with another --experiment-name"
        )


def _find_and_lock(resume: str, runs_dir: Path, name: str, stack: ExitStack) -> tuple[Found | None, RunLock | None]:
    """Return the run, once no other process writes it; a finished run is not locked."""
    folder = folder_to_resume(resume, runs_dir, name)
    if folder is None:
        return None, None
    lock = None
    if not is_finished(read_record(folder)):
        lock = stack.enter_context(lock_run(folder, _LOCK_WAIT_SECONDS))
        refuse_links(folder)
    # The process that held the lock may have saved since, or finished the run.
    return find_run(resume, runs_dir, name), lock


def _new_folder(config: TrainingConfig, name: str, stack: ExitStack) -> tuple[Path, RunLock]:
    folder = create_run_folder(Path(config.runs_dir), name, overwrite=config.overwrite)
    return folder, stack.enter_context(lock_run(folder, 0.0))


def _compare_ranks(recipe: Recipe, ranks: Ranks) -> None:
    """Raise `UserError` on all ranks if one has another recipe: each may have read other files, or another environment."""
    own = recipe.as_dict()
    main = json.loads(ranks.broadcast_text(json.dumps(own)))
    error = None
    if differences := differences_of(main, own):
        error = UserError(
            f"rank {ranks.rank} has another recipe than rank 0: {', '.join(differences)}; give every process the "
            "same options, files and environment"
        )
    ranks.raise_on_all_ranks(error)


def _link_log(run_folder: Path, rank: int) -> None:
    """Link the launcher's log of this rank into the run's folder."""
    launch_folder = os.environ.get("SLIPWAY_LAUNCH_FOLDER")
    if not launch_folder or not run_folder.is_dir():
        return
    log = Path(launch_folder) / f"rank_{rank}.log"
    logs = run_folder / "logs"
    # Not possible on another file system; the log is then in the launcher's folder alone.
    with suppress(OSError):
        logs.mkdir(exist_ok=True)
        number = 1
        while (logs / _log_name(rank, number)).exists():
            number += 1
        os.link(log, logs / _log_name(rank, number))


def _log_name(rank: int, number: int) -> str:
    return f"rank_{rank}.log" if number == 1 else f"rank_{rank}.{number}.log"


def report_other_weights(run: OpenRun, observer: Observer) -> None:
    """Warn where the model that was made is not the one that the run began with."""
    if run.other_start is not None:
        fields = {"start": run.recipe.start}
        observer.on_decision(Decision(kind="other_weights", reason=run.other_start, warning=True, fields=fields))
    elif run.has_other_weights:
        reason = (
            f"{run.name}: the model starts from other weights than when the run began; it goes on from its own, these are "
            "not used; for weights of another file start another run, and let a model draw its own from torch's generator"
        )
        observer.on_decision(Decision(kind="other_weights", reason=reason, warning=True, fields={}))


def restore_run(run: OpenRun, trainer: Trainer, observer: Observer, ranks: Ranks) -> None:
    """Restore the run's checkpoint in the trainer, and report where it continues."""
    if not run.is_resumed:
        return
    report_other_weights(run, observer)

    def report(problem: str) -> None:
        reason = f"{problem}: the one before is used"
        observer.on_decision(Decision(kind="damaged_checkpoint", reason=reason, warning=True, fields={}))

    def restore(values: Mapping[str, Any], tensors: Tensors) -> None:
        trainer.restore(values, tensors)
        _move_cursor(trainer, values)

    for problem in run.problems:
        report(problem)
    checkpoint = restore_newest(run.manifest, ranks, restore, report, is_named=run.is_named)
    if trainer.progress.stage >= len(trainer.recipe.stages):
        raise UserError(f"{run.name}: it stands in stage {trainer.progress.stage + 1}, which the recipe no longer has")
    if run.is_older:
        # Before the journal reports it: a later resume from the newest checkpoint has to continue from this one.
        trainer.save_as_newest()
    step = trainer.progress.step
    reason = f"{run.name}: goes on after step {step}" if checkpoint else f"{run.name}: no checkpoint, so from the start"
    observer.on_run_resumed(RunResumed(step=step, processes=ranks.size, recipe_changes=run.differences, reason=reason))


def _move_cursor(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """After a change of the batch size, move to the step of the epoch with about as many samples seen."""
    before = whole_number(state["recipe"]["resolution"], "global_batch_size", 1)
    now = trainer.recipe.resolved.global_batch_size
    if before != now:
        trainer.progress.step_in_epoch = trainer.progress.step_in_epoch * before // now
        trainer.progress.skipped_batches.clear()

"""Trains the runs of a study one after the other in one world, those that are left, and makes their table."""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ...common.errors import UserError
from ...common.run_names import RECORD, how_to_train_on, read_record, resolve_name
from ...common.settings import Level, Setting
from ...config.settings import make_config, what_was_asked
from ...config.stages import short_name
from ...devices.interruption import Interrupted
from ...devices.ranks import Ranks
from ...observers.events import Decision, StudyEnd, StudyStep
from ...observers.launch_mark import LaunchMark
from ...storage.run_folder import folder_name
from ...tasks.task import Task
from ..one_run import failure_of, make_named_task, make_sign_task, train_once, with_fingerprints
from ..opening.old_records import recipe_of_record
from ..opening.open_run import OpenRun, open_run
from ..opening.provenance import make_record
from ..opening.resume import differences_of, is_finished
from ..planning import make_plan
from ..result import RunResult
from ..training_config import TrainingConfig
from ..world import World
from .record import StudyRecord
from .runs import StudyRun, runs_of, study_options
from .statistics import summarise

_OF_A_SPLIT = ("samples", "split", "fingerprint")
"""What a task says of its data that differs from run to run."""


def run_study(config: TrainingConfig, settings: Level, task: Task | None, world: World) -> RunResult:
    """Train the runs of a study that are not finished; return its result. All ranks must call it.

    A study is resumed as a run is: with the same options, from what its runs have saved. Raises as a run does.
    """
    ranks, observers = world.ranks, world.observers
    asked = make_config(type(config), what_was_asked(settings))
    base = config.make_recipe(task)
    if task is not None:
        base = with_fingerprints(base, task.data_fingerprint())
    # Before the folder is made, unless there may be one.
    left_out = None if config.resume else _left_out(config, ranks)
    with ExitStack() as stack:
        study = open_run(
            asked,
            config.experiment_name or _study_name(config, task),
            base,
            world,
            task,
            plan_for=lambda recipe: make_plan(config, recipe, ranks, settings),
            stack=stack,
            study=study_options(config),
        )
        if study.result is not None:
            reason = f"{study.name} is finished: nothing is left to train; {how_to_train_on(study.shared_folder)}"
            observers.on_decision(Decision(kind="finished", reason=reason, fields={}))
            observers.on_study_end(StudyEnd(result=study.result, folder=study.shared_folder))
            return RunResult(study.result, folder=study.shared_folder)
        if study.differences:
            raise UserError(
                f"{study.name}: the recipe is not the study's any more: {', '.join(study.differences)}; its runs would not "
                "be of one study: start another one"
            )
        runs = runs_of(config, _left_out(config, ranks) if left_out is None else left_out)
        rows = _rows_on_all_ranks(study, runs, config, task, ranks)
        content = make_record(study, asked.values_for(task), settings, study.record.get("data") or {}) | {
            "study": study_options(config)
        }
        record = _keep_record(study, content, rows, ranks)
        world = replace(
            world,
            num_processes=study.recipe.resolved.num_processes,
            mixed_precision=study.recipe.resolved.mixed_precision,
        )
        try:
            _train_runs(runs, rows, config, settings, task, world, study, record)
            result = summarise(rows, base.monitor, config.leave_out or "value")
            record.finish(result)
        except BaseException as error:
            is_refused = isinstance(error, UserError) and not study.is_resumed
            if is_refused and study.folder and not any(study.folder.glob(f"*/{RECORD}")):
                shutil.rmtree(study.folder)  # a refusal leaves no folder
            else:
                record.end(*failure_of(error))
            raise
        observers.on_study_end(StudyEnd(result=result, folder=study.shared_folder))
        return RunResult(result, folder=study.shared_folder)


def _train_runs(
    runs: Sequence[StudyRun],
    rows: list[dict[str, Any]],
    config: TrainingConfig,
    settings: Level,
    task: Task | None,
    world: World,
    study: OpenRun,
    record: StudyRecord,
) -> None:
    """Train the runs that are not finished, and note each in its row. Raises `Interrupted` that names the study to resume."""
    mark = None
    if study.folder is not None:
        mark = LaunchMark(os.environ.get("SLIPWAY_LAUNCH_FOLDER"), study.folder)
        world.observers.add(mark)
    for number, run in enumerate(runs):
        if rows[number]["state"] == "finished":
            if mark is not None:
                mark.count_finished(rows[number]["steps"])
            continue
        title = _title(number + 1, runs)
        step = StudyStep(number=number + 1, count=len(runs), name=run.name, reason=title)
        world.observers.on_study_step(step)
        rows[number]["state"] = "running"
        record.update()
        try:
            result = _train_run(run, config, settings, task, replace(world, part=run.options), study, record)
        except Interrupted as stopped:
            raise Interrupted(f"{title}: {stopped.what}", study.shared_folder) from None
        rows[number] = _finished_row(run, result)
        record.update()


def options_of_part(config: TrainingConfig, ranks: Ranks) -> Level:
    """Return the options of the run that is resumed, if it is one of a study: they tell it from the other runs.

    The command that began it is the study's. All ranks must call it.
    """
    part: dict[str, Any] = {}
    if ranks.is_main and config.resume not in (None, "auto"):
        try:
            part = read_record(resolve_name(config.resume, Path(config.runs_dir)).run).get("part") or {}
        except UserError:
            part = {}  # reported where the run is opened
    part = json.loads(ranks.broadcast_text(json.dumps(part)))
    if not part:
        return {}
    return {name: Setting(value=value, origin="run") for name, value in {**part, "seeds": None}.items()}


def _left_out(config: TrainingConfig, ranks: Ranks) -> list[str]:
    """Return the values of the group that is left out, one in each run, on every rank."""
    if "leave_out" not in study_options(config):
        return []
    values, error = [], None
    if ranks.is_main:
        from ...data.prepared.prepare import read_data
        from ...data.splits.folds import fold_values

        try:
            values = list(fold_values(read_data(config.data_spec), config.data_spec))
        except UserError as caught:
            error = caught
    ranks.raise_on_all_ranks(error)
    return json.loads(ranks.broadcast_text(json.dumps(values)))


def _study_name(config: TrainingConfig, task: Task | None) -> str:
    data = Path(config.data).name if task is None else str(task.describe().get("data", task.name))
    asked = [f"{name.replace('_', '-')}-{value}" for name, value in study_options(config).items()]
    return folder_name("-".join([data, short_name(config.stages_config), *asked]))


def _title(number: int, runs: Sequence[StudyRun]) -> str:
    run, count = runs[number - 1], len(runs)
    if list(run.options) == ["fold"]:
        return f"fold {number} of {count}"
    what = "fold" if list(run.options) == ["held_out"] else "run"
    verb = "test " if "held_out" in run.options else ""
    return f"{what} {number} of {count}: {verb}{run.test}"


def _keep_record(
    study: OpenRun, content: Mapping[str, Any], rows: Sequence[dict[str, Any]], ranks: Ranks
) -> StudyRecord:
    """Begin the study's `run.json` on the rank that writes. Raises `UserError` on every rank if it cannot be written."""
    record, error = StudyRecord(None, {}, rows), None
    if study.folder is not None:
        try:
            record = StudyRecord(study.folder / RECORD, content, rows)
        except UserError as caught:
            error = caught
    ranks.raise_on_all_ranks(error)
    return record


def _train_run(
    run: StudyRun,
    config: TrainingConfig,
    settings: Level,
    task: Task | None,
    world: World,
    study: OpenRun,
    record: StudyRecord,
) -> dict[str, Any]:
    """Train one run of a study in its own folder; return its result."""
    ranks = world.ranks
    folder = study.shared_folder / run.name
    if ranks.is_main and not (folder / RECORD).is_file():
        # What a process left that was killed before it began the record.
        shutil.rmtree(folder, ignore_errors=True)
    is_begun = ranks.broadcast_text("yes" if (folder / RECORD).is_file() else "")
    options = {
        **run.options,
        "seeds": None,
        "experiment_name": run.name,
        "runs_dir": str(study.shared_folder),
        "resume": str(folder) if is_begun else None,
        "overwrite": False,
    }
    settings = {**settings, **{name: Setting(value=value, origin="run") for name, value in options.items()}}
    config = make_config(type(config), settings)
    if study.plan.compile_backend is not None:
        # Else each run's model counts against the limit of compilations for the same code.
        torch.compiler.reset()
    made = None
    if task is not None and task.origin is not None and "seed" in task.origin.flags:
        make = make_named_task(config, settings)
        task = make and make()
    if task is None:
        with world.stop.at_once():
            made = make_sign_task(config, ranks)
        _check_data(made[0], record, ranks)
    try:
        with world.observers.for_one_run():
            return train_once(config, settings, task, world, made)
    finally:
        # The model and its state refer to each other: without this the next run finds its memory taken.
        gc.collect()


def _check_data(task: Task, record: StudyRecord, ranks: Ranks) -> None:
    """Raise `UserError` on every rank if a run would see other samples than those before it; note what the first one sees."""
    data = {name: value for name, value in task.describe().items() if name not in _OF_A_SPLIT}
    before, error = record.data.get("contents"), None
    if before is None:
        record.describe_data(data)
    elif before != data["contents"]:
        error = UserError(
            f"{data['data']}: its samples have changed since the study began: its runs would not be of one study; start "
            "another one, or bring the data back"
        )
    ranks.raise_on_all_ranks(error)


def _rows_on_all_ranks(
    study: OpenRun, runs: Sequence[StudyRun], config: TrainingConfig, task: Task | None, ranks: Ranks
) -> list[dict[str, Any]]:
    """Return a row for each run: finished, or waiting. Raises `UserError` on every rank for one of another recipe."""
    rows, error = [], None
    if study.folder is not None:
        try:
            rows = [_row_of(study.folder / run.name, run, config, task) for run in runs]
        except UserError as caught:
            error = caught
    ranks.raise_on_all_ranks(error)
    return json.loads(ranks.broadcast_text(json.dumps(rows)))


def _row_of(folder: Path, run: StudyRun, config: TrainingConfig, task: Task | None) -> dict[str, Any]:
    record = read_record(folder) if (folder / RECORD).is_file() else {}
    if not is_finished(record):
        return {"name": run.name, "test": run.test, "options": dict(run.options), "state": "waiting"}
    saved = recipe_of_record(record, task)
    asked = replace(config, **run.options, seeds=None).make_recipe(task).as_dict()
    found = ("model_fingerprint", "weights_fingerprint", "data_fingerprint")
    asked["task"] |= {name: saved["task"].get(name) for name in found}
    for stage, of_saved in zip(asked["stages"], saved["stages"], strict=False):
        if stage["min_steps"] is not None:  # of which the epochs follow from the samples
            stage["epochs"] = of_saved["epochs"]
    if config.monitor == "auto":
        asked["monitor"] = saved["monitor"]
        asked["monitor_direction"] = saved.get("monitor_direction", "auto")
    if differences := differences_of(saved, {**asked, "resolution": saved["resolution"]}):
        raise UserError(
            f"{folder}: it was trained by another recipe than the study's: {', '.join(differences)}; remove this folder, and "
            "the study trains it again"
        )
    return _finished_row(run, record["result"])


def _finished_row(run: StudyRun, result: Mapping[str, Any]) -> dict[str, Any]:
    tested = {name: value for name, value in result.items() if name.startswith("test_") and not isinstance(value, list)}
    stages = {row["stage"]: row for row in result["stages"]}
    best = result.get("best_stage")
    return {
        "name": run.name,
        "test": run.test,
        "options": dict(run.options),
        "state": "finished",
        **tested,
        "best_stage": best,
        "best_epoch": stages.get(best, {}).get("best_epoch"),
        "steps": result["steps"],
        "seconds": result["seconds"],
    }

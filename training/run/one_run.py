"""One run in a world that stands, from its data to its result: task, recipe, plan, folder, training."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from ..common.errors import UserError
from ..common.program.ipython import ipython_shell
from ..common.program.waiting import said_if_long
from ..common.run_names import how_to_train_on
from ..common.settings import Level
from ..config.intervals import Interval
from ..config.methods import own_rate, settle_schedule
from ..config.recipe import Recipe
from ..config.settings import make_config, settings_of, what_was_asked, with_place
from ..config.stages import short_name
from ..data.prepared.shared_data import prepare_data_once
from ..devices.interruption import Interrupted
from ..devices.manager import DeviceManager
from ..devices.ranks import Ranks
from ..devices.sharing.control import CoreControl
from ..devices.watchdog import Watchdog
from ..loop.saver import Saving
from ..loop.trainer import Trainer, build_model
from ..observers.events import Decision, Observers, RunEnd
from ..observers.first_step import FirstStep
from ..observers.journal import Journal
from ..observers.launch_mark import LaunchMark
from ..observers.profiling.sections import UNMARKED, Sections
from ..observers.record import RunRecord
from ..observers.runtime import Runtime
from ..observers.tracking import Tracking
from ..step.own_optimizer.maker import settle_optimizer
from ..storage.run_folder import folder_name
from ..tasks.classes import automatic_monitor, check_classes
from ..tasks.fingerprint import model_fingerprint, weights_fingerprint
from ..tasks.origin.factory import SIGN, find_factory
from ..tasks.sign.task import SignTask
from ..tasks.task import Task
from .announce import (
    announce_run,
    compare_batches,
    compare_classes,
    compare_room,
    describe_data,
    describe_methods,
    describe_preparation,
    report_decisions,
)
from .opening.open_run import OpenRun, open_run, report_other_weights, restore_run
from .opening.provenance import make_record
from .opening.start import Start, compare_data, load_start, with_start
from .planning import make_plan
from .result import RunResult, with_best_weights
from .study.runs import name_of_test
from .training_config import TrainingConfig, check_monitor
from .world import World, hang_seconds


def train_once(
    config: TrainingConfig,
    settings: Level,
    task: Task | None,
    world: World,
    made: tuple[Task, tuple[Decision, ...]] | None = None,
) -> RunResult:
    """Train one run from its data to its test in a world that stands; return its result. All ranks must call it.

    `made` is what `make_sign_task` returned for the config, where it was called before.
    """
    with ExitStack() as preparing:
        preparing.enter_context(world.stop.at_once())
        return _train(config, settings, task, world, made, preparing)


def _train(
    config: TrainingConfig,
    settings: Level,
    task: Task | None,
    world: World,
    made: tuple[Task, tuple[Decision, ...]] | None,
    preparing: ExitStack,
) -> RunResult:
    ranks, observers = world.ranks, world.observers
    asked = make_config(type(config), what_was_asked(settings))
    base, options = config.make_recipe(task), asked.values_for(task)
    prepared: tuple[Decision, ...] = ()
    if task is None:
        task, prepared = made or make_sign_task(config, ranks)
    if task.num_samples("train") == 0:
        raise UserError(f"{_data_name(task)}: no sample to train on")
    base, model, start = _settle(base, config, task, world)
    parts = [_data_name(task), short_name(config.stages_config), *name_of_test(config)]
    name = config.experiment_name or folder_name("-".join(parts))
    with ExitStack() as stack:
        device_settings = DeviceManager.optimize_for_device(
            ranks.device, threads=config.threads, allow_tf32=config.tf32
        )
        run = open_run(
            asked,
            name,
            base,
            world,
            task,
            plan_for=lambda recipe: make_plan(config, recipe, ranks, settings),
            stack=stack,
            start=start,
        )
        if run.result is not None:
            reason = f"{run.name} is finished: nothing is left to train; {how_to_train_on(run.shared_folder)}"
            report_other_weights(run, observers)
            observers.on_decision(Decision(kind="finished", reason=reason, fields={}))
            observers.on_run_end(RunEnd(result=run.result, folder=run.shared_folder))
            return RunResult(run.result, folder=run.shared_folder, model=with_best_weights(model, run.shared_folder))
        plan = run.plan
        content = make_record(run, options, settings, task.describe())
        if parent := run.record.get("parent") or (start.parent if start and not run.is_resumed else None):
            content["parent"] = dict(parent)
        if part := world.part or run.record.get("part"):
            content["part"] = dict(part)
        record = _keep_record(run, content, world, config)
        sections = _start_profiling(config, run, observers, ranks)
        try:
            trainer = Trainer(
                task=task,
                recipe=run.recipe,
                plan=plan,
                runtime=Runtime(
                    ranks=ranks,
                    observer=observers,
                    watchdog=Watchdog(run.shared_folder, ranks.rank, hang_seconds(config)),
                    sections=sections,
                    cores=CoreControl(may_gather=config.threads is None and ranks.device.type == "cpu"),
                    stop=world.stop,
                    tests=config.test,
                ),
                saving=Saving(
                    folder=run.folder, every=Interval.parse(config.save_every, "save_every"), keep=config.keep
                ),
                model=model,
                methods=world.methods,
            )
            stack.callback(trainer.loader.close)
            trainer.rehearse()
            announce_run(trainer, run.name)
            for decision in (
                *prepared,
                *(start.decisions if start and not run.is_resumed else ()),
                *(compare_data(start, run.recipe) if not run.is_resumed else ()),
                *compare_batches(world.planned_batch, run.recipe),
                *compare_classes(run.recipe, task),
                *describe_methods(run.recipe),
                *compare_room(run.folder, model),
            ):
                observers.on_decision(decision)
            report_decisions(observers, config, run.recipe, plan, device_settings)
            restore_run(run, trainer, observers, ranks)
            ranks.barrier()  # so that a signal to all ranks ends all of them at once, or none
            preparing.close()
            return RunResult(trainer.run(), folder=run.shared_folder, model=trainer.model)
        except BaseException as error:
            if record:
                state, reason = failure_of(error)
                record.end(state, error=reason)
            raise


def _settle(recipe: Recipe, config: TrainingConfig, task: Task, world: World) -> tuple[Recipe, nn.Module, Start | None]:
    """Return the recipe with what the task, its samples and its model decide in it, the model, and what that starts from."""
    check_classes(recipe, task)
    if config.monitor == "auto":
        recipe = replace(recipe, monitor=automatic_monitor(task))
        recipe = check_monitor(recipe, task.metric_names, task.direction_of)
    if any(stage.min_steps for stage in recipe.stages):
        recipe = recipe.with_enough_epochs(task.num_samples("train"))
    model = build_model(task, recipe)
    start = load_start(config, recipe, model, task, world.ranks)
    recipe = with_start(recipe, start)
    recipe = settle_optimizer(recipe, task, model, world.methods, config.own_optimizer)
    recipe = settle_schedule(recipe, own_rate(world.methods, task.schedule), config.schedule, config.warmup_epochs)
    weights = world.ranks.broadcast_text(weights_fingerprint(model))  # those of rank 0 are trained
    return with_fingerprints(recipe, task.data_fingerprint(), model_fingerprint(model), weights), model, start


def failure_of(error: BaseException) -> tuple[str, str]:
    """Return the state of a run that an exception ended, and why, as they stand in `run.json`."""
    reason = f"{type(error).__name__}: {error}".removesuffix(": ")
    stopped = isinstance(error, (KeyboardInterrupt, Interrupted))
    return "interrupted" if stopped else "failed", "; ".join([reason, *getattr(error, "__notes__", ())])


def with_fingerprints(recipe: Recipe, data: str, model: str | None = None, weights: str | None = None) -> Recipe:
    """Return the recipe with the hashes of the samples, of the model's structure and of its first weights."""
    found = replace(recipe.task, data_fingerprint=data, model_fingerprint=model, weights_fingerprint=weights)
    return replace(recipe, task=found)


def _keep_record(run: OpenRun, content: Mapping[str, Any], world: World, config: TrainingConfig) -> RunRecord | None:
    """Begin `run.json` and the journal on the rank that writes. Raises `UserError` on every rank if they cannot be written."""
    record, error, observers = None, None, world.observers
    if run.folder is not None:
        try:
            record = RunRecord(run.folder / "run.json", content, run.lock)
            observers.add(record)
            if config.tracker:
                observers.add(Tracking(config.tracker, config.tracker_project, observers))
            observers.add(Journal(run.folder / "events.jsonl"))
            if world.part is None:
                observers.add(LaunchMark(os.environ.get("SLIPWAY_LAUNCH_FOLDER"), run.folder))
                if ipython_shell() is None:  # else the process is older than what was asked of it
                    observers.add(FirstStep(observers))
        except UserError as caught:
            error = caught
            if record is not None:
                record.end("failed", error=str(caught))
    world.ranks.raise_on_all_ranks(error)
    return record


def _start_profiling(config: TrainingConfig, run: OpenRun, observers: Observers, ranks: Ranks) -> Sections:
    """Add a profiler to the observers of this rank, if one is asked for; return the sections that the loop marks."""
    if not config.profile:
        return UNMARKED
    # Imported here, because it imports much of torch.
    from ..observers.profiling.profiler import Profiler

    profiler = Profiler(
        run.shared_folder, rank=ranks.rank, device=ranks.device, num_steps=config.profile_steps, observer=observers
    )
    observers.add(profiler)
    return profiler.sections


def _data_name(task: Task) -> str:
    return str(task.describe().get("data", task.name))


def make_named_task(config: TrainingConfig, settings: Level) -> Callable[[], Task] | None:
    """Return what makes the task that `--task` names, its options checked; None: it names none, or sign recognition.

    Raises `UserError` that names the file or variable of a wrong option.
    """
    if config.task in (None, SIGN):
        if config.task_options:
            raise with_place(
                UserError(
                    "--task-options: for a task that --task names; sign recognition has options of its own, see --help",
                    option="task_options",
                ),
                settings,
            )
        return None
    factory = find_factory(config.task)
    given = settings.get("data")
    try:
        arguments = factory.bind(
            config.task_options or {}, data=None if given is None else given.value, seed=config.seed
        )
    except UserError as error:
        raise with_place(error, settings) from None
    return partial(factory.make, arguments)


def make_task_alone(config: TrainingConfig) -> Task:
    """Return the task of a config in one process, its data read and split."""
    make = make_named_task(config, config.settings or settings_of(config, None))
    return make_sign_task(config, Ranks.alone())[0] if make is None else make()


def make_sign_task(config: TrainingConfig, ranks: Ranks) -> tuple[Task, tuple[Decision, ...]]:
    """Return the task of a config, with how this rank prepared its data, if it did, and what was understood of them."""
    with said_if_long(f"reading {config.data} ..."):
        data, preparation = prepare_data_once(config.data_spec, config.seed, ranks, use_cache=config.data_cache)
    prepared = () if preparation is None else describe_preparation(preparation, config.data)
    return SignTask(data, config.model_spec), (*prepared, *describe_data(data.facts))

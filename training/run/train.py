"""A run from its config to its result: world, data, model, recipe, plan, folder, training."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.errors import UserError
from ..common.settings import Level
from ..config.intervals import Interval
from ..config.launched_plan import launched_plan
from ..config.plan import Plan
from ..config.recipe import MixedPrecision, Recipe
from ..config.settings import make_config, settings_of, what_was_asked, with_place
from ..data.prepared.shared_data import prepare_data_once
from ..devices.interruption import Interrupted, StopRequest
from ..devices.manager import DeviceManager, make_accelerator
from ..devices.rank_failure import decide_reporter
from ..devices.ranks import Ranks
from ..devices.watchdog import Watchdog
from ..devices.world import check_world, launched_world, leave_group
from ..loop.saver import Saving
from ..loop.trainer import Trainer, build_model
from ..observers.console import configure_logging, make_console, make_console_observer
from ..observers.events import Decision, Observer, Observers, RunEnd
from ..observers.first_step import FirstStep
from ..observers.journal import Journal
from ..observers.launch_mark import LaunchMark
from ..observers.profiling.sections import UNMARKED, Sections
from ..observers.record import RunRecord
from ..observers.runtime import Runtime
from ..storage.run_folder import RUN_SCHEMA_VERSION, folder_name
from ..tasks.fingerprint import model_fingerprint
from ..tasks.sign import SignTask
from ..tasks.task import Task
from .announce import announce_run, compare_batches, describe_data, describe_preparation, report_decisions
from .open_run import OpenRun, open_run, restore_run
from .planning import accelerate_says, make_plan
from .provenance import script_commit, slipway_commit, versions
from .training_config import TrainingConfig

if TYPE_CHECKING:
    from accelerate import Accelerator

_LONGEST_WAIT_SECONDS = 7 * 24 * 3600.0
"""Longest wait of a collective with `--hang-timeout never`."""


def train(
    config: TrainingConfig,
    task: Task | None = None,
    observers: Sequence[Observer] = (),
    *,
    settings: Level | None = None,
) -> dict[str, Any]:
    """Train as `config` says and return the result, as it stands in `run.json`.

    `task` is what is trained; without one it is sign recognition on `config.data`. `observers` receive the events of the
    run after Slipway's own (screen, journal, `run.json`): those of rank 0, in the thread that trains; on other ranks they
    are not called. What an observer raises ends the run, with a note that names the observer. `settings` are the
    origins of the config's options, as `read_settings` returns them; without them the options are the caller's own, and the
    launch plan decides what they leave open. Call it in every process of a launch. Raises `UserError` for input that cannot be
    used, `Interrupted` where a signal asked to stop and the run was saved, and `TrainingFailed` where it cannot go on.
    """
    for one in observers:
        if not isinstance(one, Observer):
            kind = one.__name__ if isinstance(one, type) else type(one).__name__
            raise UserError(f"observers: expected objects of classes made from slipway.Observer, got {kind}")
    watching = Observers([])
    if launched_world().rank == 0:
        console = make_console()
        configure_logging(config.log_level, console)
        watching = Observers([make_console_observer(log_level=config.log_level, console=console)], last=observers)
    planned = launched_plan(os.environ)
    if settings is None:
        settings = settings_of(config, planned)
        config = make_config(type(config), settings)
    # From here on, a signal during the reading of data stops the run after its first step, saved.
    with StopRequest() as stop:
        try:
            accelerator, ranks = _start_world(config)
        except UserError as error:
            raise with_place(error, settings) from None
        try:
            if planned is not None:
                planned.check_world(ranks.size, ranks.device.type)
            planned_batch = None if planned is None else planned.plan.global_batch_size
            return _train(config, settings, planned_batch, task, accelerator.mixed_precision, ranks, watching, stop)
        except Exception as error:
            decide_reporter(error, ranks)
            raise
        finally:
            watching.close()
            if ranks.is_main and isinstance(stopped := sys.exception(), Interrupted):
                with suppress(OSError):  # nobody may read stderr any more
                    print(stopped, file=sys.stderr)
            accelerator.free_memory()
            leave_group()
            if ranks.size == 1:
                # Accelerate's state is global: without this a second run could not have another precision or device.
                accelerator.state._reset_state(reset_partial_state=True)


def _start_world(config: TrainingConfig) -> tuple[Accelerator, Ranks]:
    size = launched_world().size
    if size > 1 and not config.use_data_parallel:
        raise UserError(f"--no-data-parallel: {size} processes were started; start one, or drop the flag")
    for sharding in ("DEEPSPEED", "MEGATRON_LM"):
        if accelerate_says(f"ACCELERATE_USE_{sharding}") in ("1", "true"):
            raise UserError(
                f"the launcher's config asks for {sharding}, which training does not do: use MULTI_GPU or FSDP"
            )
    # A fall-back to one device is reported with the other decisions, once there is a screen and a journal.
    device = DeviceManager.detect_best_device(config.device, multi_gpu=False)
    hang = _hang_seconds(config)
    accelerator = make_accelerator(
        device=config.device,
        mixed_precision=config.mixed_precision,
        # Later than the watchdog, which leaves the stacks.
        timeout_seconds=_LONGEST_WAIT_SECONDS if hang is None else 60.0 + hang,
    )
    check_world(accelerator, device.type)
    ranks = Ranks(
        rank=accelerator.process_index,
        size=accelerator.num_processes,
        local_rank=accelerator.local_process_index,
        device=accelerator.device,
    )
    return accelerator, ranks


def _hang_seconds(config: TrainingConfig) -> float | None:
    interval = Interval.parse(config.hang_timeout, "hang_timeout")
    return None if interval is None else interval.count


def _train(
    config: TrainingConfig,
    settings: Level,
    planned_batch: int | None,
    task: Task | None,
    mixed_precision: MixedPrecision,
    ranks: Ranks,
    observers: Observers,
    stop: StopRequest,
) -> dict[str, Any]:
    asked = make_config(type(config), what_was_asked(settings))
    base, options = config.make_recipe(task), asked.values_for(task)
    prepared: tuple[Decision, ...] = ()
    if task is None:
        task, prepared = _make_sign_task(config, ranks)
    if task.num_samples("train") == 0:
        raise UserError(f"{_data_name(task)}: no sample to train on")
    model = build_model(task, base)
    base = _with_fingerprints(base, task.data_fingerprint(), model_fingerprint(model))
    name = config.experiment_name or folder_name(f"{_data_name(task)}-{Path(config.stages_config).stem}")
    with ExitStack() as stack:
        device_settings = DeviceManager.optimize_for_device(ranks.device, allow_tf32=config.tf32)
        run = open_run(
            asked,
            name,
            base,
            mixed_precision,
            task,
            plan_for=lambda recipe: make_plan(config, recipe, ranks, settings),
            ranks=ranks,
            stack=stack,
        )
        if run.result is not None:
            reason = f"{run.name} is finished: nothing is left to train"
            observers.on_decision(Decision(kind="finished", reason=reason, fields={}))
            observers.on_run_end(RunEnd(result=run.result, folder=run.shared_folder))
            return run.result
        plan = run.plan
        record = _keep_record(run, partial(_make_record, run, options, settings, plan, task), observers, ranks)
        sections = _start_profiling(config, run, observers, ranks)
        try:
            trainer = Trainer(
                task=task,
                recipe=run.recipe,
                plan=plan,
                runtime=Runtime(
                    ranks=ranks,
                    observer=observers,
                    watchdog=Watchdog(run.shared_folder, ranks.rank, _hang_seconds(config)),
                    sections=sections,
                    stop=stop,
                ),
                saving=Saving(
                    folder=run.folder, every=Interval.parse(config.save_every, "save_every"), keep=config.keep
                ),
                model=model,
            )
            announce_run(trainer, run.name)
            for decision in (*prepared, *compare_batches(planned_batch, run.recipe)):
                observers.on_decision(decision)
            report_decisions(observers, config, run.recipe, plan, device_settings)
            restore_run(run, trainer, observers, ranks)
            return trainer.run()
        except BaseException as error:
            if record:
                stopped = isinstance(error, (KeyboardInterrupt, Interrupted))
                reason = f"{type(error).__name__}: {error}".removesuffix(": ")
                reason = "; ".join([reason, *getattr(error, "__notes__", ())])
                record.end("interrupted" if stopped else "failed", error=reason)
            raise


def _with_fingerprints(recipe: Recipe, data: str, model: str) -> Recipe:
    return replace(recipe, task=replace(recipe.task, data_fingerprint=data, model_fingerprint=model))


def _keep_record(
    run: OpenRun, make_content: Callable[[], dict[str, Any]], observers: Observers, ranks: Ranks
) -> RunRecord | None:
    """Begin `run.json` and the journal on the rank that writes. Raises `UserError` on every rank if they cannot be written."""
    record, error = None, None
    if run.folder is not None:
        try:
            record = RunRecord(run.folder / "run.json", make_content())
            observers.add(record)
            observers.add(Journal(run.folder / "events.jsonl"))
            observers.add(LaunchMark(os.environ.get("SLIPWAY_LAUNCH_FOLDER"), run.folder))
            observers.add(FirstStep(observers))
        except UserError as caught:
            error = caught
            if record is not None:
                record.end("failed", error=str(caught))
    ranks.raise_on_all_ranks(error)
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


def make_task(config: TrainingConfig) -> Task:
    """Return the task of a config in one process, its data read and split."""
    return _make_sign_task(config, Ranks.alone())[0]


def _make_sign_task(config: TrainingConfig, ranks: Ranks) -> tuple[Task, tuple[Decision, ...]]:
    """Return the task of a config, with how this rank prepared its data, if it did, and what was understood of them."""
    data, preparation = prepare_data_once(config.data_spec, config.seed, ranks, use_cache=config.data_cache)
    prepared = () if preparation is None else describe_preparation(preparation, config.data)
    return SignTask(data, config.model_spec), (*prepared, *describe_data(data.facts))


def _make_record(run: OpenRun, options: dict[str, Any], settings: Level, plan: Plan, task: Task) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    command = _command()
    return {
        "schema_version": RUN_SCHEMA_VERSION,
        "name": run.name,
        "started": run.record.get("started", now),
        "resumed": [*run.record.get("resumed", []), now] if run.record else [],
        "progress": run.record.get("progress") or {},
        "command": command,
        "config": options,
        "origins": {name: str(setting) for name, setting in settings.items()},
        "recipe": run.recipe.as_dict(),
        "recipe_hash": run.recipe.hash,
        "base_recipe_hash": run.recipe.base_hash,
        "plan": plan.as_dict(),
        "world_size": plan.world_size,
        "data": dict(task.describe()),
        "versions": versions(),
        "script_commit": script_commit(command["script"]),
        "slipway_commit": slipway_commit(),
    }


def _command() -> dict[str, Any]:
    """Return how this process was started, for `slipway resume`."""
    main = sys.modules["__main__"]
    module = getattr(getattr(main, "__spec__", None), "name", None)
    script = getattr(main, "__file__", None)
    return {
        "module": module.removesuffix(".__main__") if module else None,
        "script": str(Path(script).resolve()) if script and not module else None,
        "arguments": sys.argv[1:],
        "folder": str(Path.cwd()),
    }

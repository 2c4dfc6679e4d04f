"""A run from its config to its result: world, data, recipe, plan, folder, training."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from training.collectives import Ranks
from training.config import AdvancedTrainingConfig
from training.data.prepare import prepare_data
from training.data.prepared import PreparedData
from training.device import DeviceManager, make_accelerator
from training.errors import UserError
from training.observers.console import configure_logging, make_console, make_console_observer
from training.observers.events import Decision, Observer, Observers
from training.observers.journal import Journal
from training.plan import Plan, plan_micro_batches, plan_shares
from training.recipe import DataSpec, Recipe
from training.run_folder import RUN_SCHEMA_VERSION, create_run_folder, folder_name, git_commit, versions, write_json
from training.tasks.sign import SignTask
from training.tasks.task import Task
from training.trainer import Trainer
from training.world import check_world, launched_world, leave_group

if TYPE_CHECKING:
    from accelerate import Accelerator


def train(config: AdvancedTrainingConfig, task: Task | None = None) -> dict[str, Any]:
    """Train as `config` says and return the result, as it stands in `run.json`.

    `task` is what is trained; without one it is sign recognition on `config.data`. Call it in every process of a launch.
    Raises `UserError` for input that cannot be used.
    """
    observers = Observers([])
    if launched_world().rank == 0:
        console = make_console()
        configure_logging(config.log_level, console)
        observers.add(make_console_observer(log_level=config.log_level, console=console))
    accelerator, ranks = _start_world(config)
    try:
        return _train(config, task, accelerator, ranks, observers)
    finally:
        observers.close()
        accelerator.free_memory()  # it keeps the replicated model, and with it the group
        leave_group()
        if ranks.size == 1:
            # Accelerate's state is global: without this a second run could not have another precision or device.
            accelerator.state._reset_state(reset_partial_state=True)


def _start_world(config: AdvancedTrainingConfig) -> tuple[Accelerator, Ranks]:
    size = launched_world().size
    if size > 1 and not config.use_data_parallel:
        raise UserError(f"--no-data-parallel: {size} processes were started; start one, or drop the flag")
    for sharding in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        if os.environ.get(f"ACCELERATE_USE_{sharding}", "").lower() in ("1", "true"):
            raise UserError(f"the launcher's config asks for {sharding}, but training only replicates: use MULTI_GPU")
    # A fall-back from several devices to one is told with the other decisions, once there is a screen and a journal.
    device = DeviceManager.detect_best_device(config.device, multi_gpu=False)
    accelerator = make_accelerator(device=config.device, mixed_precision=config.mixed_precision)
    check_world(accelerator, device.type)
    ranks = Ranks(
        rank=accelerator.process_index,
        size=accelerator.num_processes,
        local_rank=accelerator.local_process_index,
        device=accelerator.device,
    )
    return accelerator, ranks


def _train(
    config: AdvancedTrainingConfig, task: Task | None, accelerator: Accelerator, ranks: Ranks, observers: Observers
) -> dict[str, Any]:
    recipe = config.make_recipe().resolve(ranks.size, accelerator.mixed_precision)
    notes: tuple[str, ...] = ()
    if task is None:
        data = _share_data(recipe, ranks)
        notes = data.facts.notes
        task = SignTask(data, recipe.model)
    else:
        # What the config says of data and model is of the sign task; this one brings its own.
        recipe = replace(recipe, task=task.name, data=DataSpec(source=_data_name(task)))
    if task.num_samples("train") == 0:
        raise UserError(f"{_data_name(task)}: no sample to train on")
    settings = DeviceManager.optimize_for_device(ranks.device)
    plan = make_plan(config, recipe, ranks)
    name = config.experiment_name or folder_name(f"{_data_name(task)}-{Path(config.stages_config).stem}")
    folder = _claim_folder(config, name, ranks)
    record = _make_record(folder, recipe, plan, task) if folder else {}
    if folder:
        write_json(folder / "run.json", {**record, "state": "running"})
        observers.add(Journal(folder / "events.jsonl"))
    try:
        trainer = Trainer(
            task=task,
            recipe=recipe,
            plan=plan,
            ranks=ranks,
            accelerator=accelerator,
            observer=observers,
            folder=folder,
        )
        trainer.announce(name if folder is None else folder.name)
        _tell_decisions(observers, config, recipe, plan, settings, notes)
        result = trainer.run()
    except BaseException as error:
        if folder:
            state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            told = f"{type(error).__name__}: {error}".removesuffix(": ")
            write_json(folder / "run.json", {**record, "state": state, "error": told})
        raise
    if folder:
        write_json(folder / "run.json", {**record, "state": "finished", "result": result})
    return result


def _data_name(task: Task) -> str:
    return str(task.describe().get("data", task.name))


def make_task(config: AdvancedTrainingConfig) -> Task:
    """Return the task of a config in one process, its data read and split."""
    recipe = config.make_recipe()
    return SignTask(prepare_data(recipe.data, recipe.seed), recipe.model)


def make_plan(config: AdvancedTrainingConfig, recipe: Recipe, ranks: Ranks) -> Plan:
    """Return how a resolved recipe is computed by these ranks, with the reason for each choice."""
    shares = plan_shares(config.share_weights, ranks.size)
    micro_batch_size, accumulation = plan_micro_batches(
        recipe.resolved.global_batch_size, shares, config.micro_batch_size, config.gradient_accumulation
    )
    on_cpu = ranks.device.type == "cpu"
    reasons = {}
    asked = config.gradient_accumulation
    if asked is not None and asked != accumulation:
        reasons["gradient_accumulation"] = (
            f"{asked} micro-batches of a whole size do not fit the share: {accumulation} do"
        )
    reduction = config.reduction
    if reduction == "auto":
        reduction = "flat" if on_cpu or ranks.size == 1 else "overlap"
        reasons["reduction"] = (
            "one process: nothing to reduce"
            if ranks.size == 1
            else "one all-reduce after the backward pass: on a CPU the same cores would do both"
            if on_cpu
            else "the device computes while the gradients travel"
        )
    num_workers = config.num_workers
    if num_workers is None:
        num_workers = 0 if on_cpu else 2
        reasons["num_workers"] = (
            "the training thread: on a CPU the same cores would do both"
            if on_cpu
            else "prepared while the device works"
        )
    if config.micro_batch_size is None and config.gradient_accumulation is None:
        reasons["micro_batch_size"] = "a rank's whole share in one forward pass: nothing else was asked for"
    return Plan(
        world_size=ranks.size,
        device=ranks.device.type,
        device_name=DeviceManager.get_device_info(ranks.device).name,
        micro_batch_size=micro_batch_size,
        gradient_accumulation=accumulation,
        share_weights=shares,
        reduction=reduction,
        num_workers=num_workers,
        threads_per_process=torch.get_num_threads(),
        reasons=tuple(reasons.items()),
    )


def _share_data(recipe: Recipe, ranks: Ranks) -> PreparedData:
    """Prepare the data, once for each host: its first process writes them, all map them, and no file stays behind."""
    if ranks.size == 1:
        return prepare_data(recipe.data, recipe.seed)
    token = ranks.agree_on_text(uuid.uuid4().hex)
    folder = Path(tempfile.gettempdir()) / f"slipway-{token}"
    error: UserError | None = None
    try:
        if ranks.local_rank == 0:
            try:
                prepare_data(recipe.data, recipe.seed).save(folder)
            except UserError as caught:
                error = caught
            except OSError as caught:
                error = UserError(f"{folder}: {caught.strerror or caught}; point TMPDIR at a folder with room")
        ranks.agree_on_error(error)
        data = PreparedData.open_shared(folder)
        # Unlinked once every process has it mapped: the pages live as long as the processes do.
        ranks.barrier()
    finally:
        if ranks.local_rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
    own = data.facts.fingerprint
    if own != ranks.agree_on_text(own):
        error = UserError(f"{recipe.data.source}: rank {ranks.rank}'s host reads other samples than rank 0's")
    ranks.agree_on_error(error)
    return data


def _claim_folder(config: AdvancedTrainingConfig, name: str, ranks: Ranks) -> Path | None:
    """Return the new run's folder on rank 0, which alone writes; all ranks stop where it cannot be made."""
    folder, error = None, None
    if ranks.is_main:
        try:
            folder = create_run_folder(Path(config.runs_dir), name, overwrite=config.overwrite)
        except UserError as caught:
            error = caught
    ranks.agree_on_error(error)
    return folder


def _make_record(folder: Path, recipe: Recipe, plan: Plan, task: Task) -> dict[str, Any]:
    return {
        "schema_version": RUN_SCHEMA_VERSION,
        "name": folder.name,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": recipe.as_dict(),
        "recipe_hash": recipe.hash,
        "base_recipe_hash": recipe.base_hash,
        "plan": plan.as_dict(),
        "world_size": plan.world_size,
        "data": dict(task.describe()),
        "versions": versions(),
        "git_commit": git_commit(),
    }


def _tell_decisions(
    observer: Observer,
    config: AdvancedTrainingConfig,
    recipe: Recipe,
    plan: Plan,
    settings: dict[str, str],
    notes: tuple[str, ...],
) -> None:
    """Tell what was chosen for the user before the first step, with the reasons."""
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
    told += [Decision(kind="data_note", reason=note, fields={}) for note in notes]
    told += [
        Decision(kind="device_setting", reason=f"{name} {reason}", fields={"setting": name})
        for name, reason in settings.items()
    ]
    for decision in told:
        observer.on_decision(decision)

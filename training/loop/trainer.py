"""Train the stages and epochs of a recipe, as a plan says: validate, keep the best weights, save, go back."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from ..batches.class_order import make_order
from ..batches.loader import Loader
from ..batches.sampler import EpochSampler
from ..common.apportion import apportion
from ..common.conversion import plain_values
from ..common.errors import TrainingFailed, UserError
from ..common.keyed_random import fold
from ..config.methods import Methods, own_rate
from ..config.plan import Plan
from ..config.recipe import Ending, Recipe, Stage
from ..devices.interruption import Interrupted
from ..observers.events import Decision, EpochEnd, Observers, RunEnd, StageEnd, StageStart
from ..observers.runtime import Runtime
from ..step.micro_batch.limit import MicroBatchLimit
from ..step.micro_batch.search import SizeSearch, size_key
from ..step.own_optimizer.update import make_optimizer
from ..step.placement import place_model, settle_plan
from ..step.train_step import LEDGER_SIZE, TrainStep
from ..storage.checkpoint import Content
from ..tasks.samples.random_state import seed_generators
from ..tasks.task import Task
from .best import Best, Score
from .evaluate import Evaluator
from .faults import Position
from .progress import Progress
from .rehearsal import rehearse
from .results import run_result, stage_row
from .rewind import Rewinder
from .saver import CheckpointSaver, JoiningSaver, SavedStep, Saver, Saving
from .state import Tensors, TrainingState, capture, restore
from .step_loop import Rewind, StepLoop
from .utilisation import find_model_flops
from .weight_files import WeightFiles

MODEL_STREAM = 0x1417

_NOT_SAVED = Saving()
_NO_METHODS = Methods()


def build_model(task: Task, recipe: Recipe) -> nn.Module:
    """Return the task's new model in the recipe's precision; its random numbers follow from the recipe's seed.

    Raises `UserError` for a model whose parameters have no size yet.
    """
    torch.manual_seed(seed := fold(recipe.seed, MODEL_STREAM) % 2**63)  # those of devices too
    seed_generators(seed)
    model = task.build_model()
    for name, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise UserError(
                f"the model's parameter {name} has no size before a first batch: call the model once where it is made, on "
                "inputs as it will get, or give its modules their sizes instead of lazy ones"
            )
    return model.to(dtype=_dtype_of(recipe))


def _dtype_of(recipe: Recipe) -> torch.dtype:
    return torch.float64 if recipe.precision == "float64" else torch.float32


class Trainer:
    """Trains a task by a resolved recipe, as a plan says, and reports to the observers of the runtime."""

    def __init__(
        self,
        *,
        task: Task,
        recipe: Recipe,
        plan: Plan,
        runtime: Runtime,
        saving: Saving = _NOT_SAVED,
        model: nn.Module | None = None,
        methods: Methods = _NO_METHODS,
    ) -> None:
        self.task, self.recipe, self.runtime, self.saving = task, recipe, runtime, saving
        ranks = runtime.ranks
        self.model = build_model(task, recipe) if model is None else model
        self.plan = plan = settle_plan(plan, task, self.model, recipe, ranks)
        if plan.gradient_checkpointing:
            task.checkpoint_gradients(self.model)
        self._as_built = [(one, one.requires_grad) for one in self.model.parameters()]
        task.begin_stage(self.model, recipe.stages[0])
        unfreezes = getattr(task.begin_stage, "__func__", None) is not Task.begin_stage and len(recipe.stages) > 1
        self.parameters = place_model(self.model, plan, ranks, LEDGER_SIZE, with_frozen=unfreezes)
        for buffer in self.model.buffers():
            if buffer.numel():
                ranks.broadcast_(buffer)
        largest = max(apportion(recipe.resolved.global_batch_size, plan.share_weights))
        ceiling = min(largest, plan.micro_batch_size or largest)
        # Rank 0's key stands for all: a state is restored on every rank or on none.
        key = ranks.broadcast_text(size_key(task, self.model, recipe, plan, ceiling) if ranks.is_main else "")
        limit = MicroBatchLimit(limit=ceiling, ceiling=ceiling, key=key)
        optimizer = make_optimizer(recipe, task, self.model, self.parameters, methods)
        self.state = TrainingState.of(self.model, self.parameters, optimizer, recipe, limit)
        self.step = TrainStep(self.state, task, recipe, plan, runtime)
        self.loader = self.make_loader(_dtype_of(recipe))
        sampler = EpochSampler(
            order=make_order(recipe, task),
            costs=task.costs("train"),
            global_batch_size=recipe.resolved.global_batch_size,
            rank=ranks.rank,
            share_weights=plan.share_weights,
            micro_batch_size=lambda: limit.limit,
            equal_passes=self.parameters.passes_are_collective,
        )
        self._saved, self._is_restored, self._went_back = SavedStep(), False, False
        self.saver = self.make_saver()
        self.loop = StepLoop(
            self.state, self.step, sampler, self.loader, self.saver, runtime, own_rate(methods, task.schedule)
        )
        self.search = SizeSearch(key, self.step, self.loader, sampler, ranks, largest_share=ceiling)
        self._evaluator = Evaluator(self.state, self.step, self.loader, runtime)
        self._rewinder = Rewinder(saving.folder, self.state, sampler, runtime)
        self._weights = WeightFiles(saving.folder, task, self.state, runtime)
        self._started = self._stage_started = time.perf_counter()

    def make_loader(self, dtype: torch.dtype) -> Loader:
        """Return the loader of the batches, whose floating-point tensors have this type."""
        return Loader(
            self.task,
            seed=self.recipe.seed,
            dtype=dtype,
            device=self.runtime.ranks.device,
            channels_last=self.plan.memory_format == "channels_last",
            num_workers=self.plan.num_workers,
            most_workers=self.plan.most_workers,
            observer=self.runtime.observer,
            sections=self.runtime.sections,
        )

    def make_saver(self) -> Saver:
        """Return what saves the run on this rank. Without an interval a run is saved when it is stopped."""
        is_collective = self.parameters.checkpoints_are_collective
        if self.saving.folder is None:
            return JoiningSaver(self.capture) if is_collective else Saver()
        return CheckpointSaver(
            self.saving.folder,
            interval=self.saving.every,
            keep=self.saving.keep,
            steps_per_epoch=-(-self.task.num_samples("train") // self.recipe.resolved.global_batch_size),
            observer=Observers([self.runtime.observer, self._saved]),
            capture=self.capture,
            together=is_collective,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of a complete epoch."""
        return self.loop.sampler.num_steps

    @property
    def progress(self) -> Progress:
        """Where the run is and what it has found."""
        return self.state.progress

    def rehearse(self) -> None:
        """Raise `UserError` on every rank for what would end the run later, such as a metric that is not there."""
        rehearse(self.step, self.loader, self.loop.sampler, self.runtime, self.recipe.stages[0])

    def run(self) -> dict[str, Any]:
        """Train all stages from the cursor on and test the best weights; return the result, as in `run.json`.

        Raises `Interrupted` if the ranks agreed to stop, after the run is saved, and `TrainingFailed` if it cannot go on.
        """
        self._started = time.perf_counter() - self.progress.seconds
        observer = self.runtime.observer
        try:
            with self.runtime.watchdog, self.runtime.cores:
                stage = self.recipe.stages[self.progress.stage]
                if (model_flops := find_model_flops(self.step, self.loader, self.runtime.ranks, stage)) is not None:
                    observer.on_model_flops(model_flops)
                while True:
                    try:
                        self._run_stages()
                        break
                    except Rewind as rewind:
                        self._rewind(rewind.positions)
                result = self._finish()
        except Interrupted:
            raise Interrupted(self._describe_stop(), self.saving.folder) from None
        finally:
            self.loader.close()
            self.saver.close()
            self._weights.settle()
        observer.on_run_end(RunEnd(result=result, folder=self.saving.folder or Path()))
        return result

    def evaluate(self, split: str) -> dict[str, Any]:
        """Return the metrics of the present weights, or of their moving average, on a split; the same on every rank."""
        with self.runtime.sections.evaluate, self.parameters.temporarily(self.state.average):
            return self._evaluator.evaluate(split)

    def _run_stages(self) -> None:
        while True:
            number = self.progress.stage
            stage = self.recipe.stages[number]
            improved = self._run_stage(number, stage)
            if self.loop.steps_left == 0 or number + 1 == len(self.recipe.stages):
                return
            if not improved:
                self._report("stages_ended", f"stage {stage.name} improved too little for the next one to start")
                return
            self.progress.begin_stage(number + 1, self.recipe.stages[number + 1].min_delta)

    def _run_stage(self, number: int, stage: Stage) -> bool:
        """Train a stage from the cursor on and restore its best weights; return whether it improved by its threshold."""
        self.begin_stage(number, stage)
        progress, best = self.progress, self.progress.stage_best
        before = progress.best.score
        stopped = "all epochs"
        while True:
            self._run_epoch(number, stage, progress.epoch_in_stage)
            epochs = progress.epoch_in_stage + 1
            if self.loop.steps_left == 0:
                stopped = "max_steps"
                break
            if stage.patience is not None and best.epochs_without_improvement >= stage.patience:
                stopped = f"no gain for {stage.patience} epochs"
                self._report(
                    "early_stop",
                    f"stage {stage.name}: no gain in {self.recipe.monitor} for {stage.patience} epochs",
                    stage=number,
                    epoch_in_stage=progress.epoch_in_stage,
                )
                break
            if epochs >= stage.epochs:
                break
            progress.epoch_in_stage, progress.step_in_epoch = epochs, 0
        self._weights.save("last")
        self.state.restore_snapshot(best.snapshot or self.state.take_snapshot())
        self.state.average = None
        row = stage_row(stage, progress, stopped, time.perf_counter() - self._stage_started)
        progress.rows.append(row)
        self._keep_best_of_run(best, number, stage.end_with)
        self.runtime.observer.on_stage_end(StageEnd(number=number, row=row))
        if stage.improvement_threshold < 0 or before is None or best.score is None:
            return True
        # 0.3 - 0.2 is a little less than 0.1 in binary.
        return best.score.value - before.value >= stage.improvement_threshold - 1e-9

    def begin_stage(self, number: int, stage: Stage) -> None:
        """Prepare the state for a stage, or for the rest of one that was restored."""
        progress = self.progress
        self._stage_started = time.perf_counter() - progress.stage_seconds
        self.parameters.sync_model()  # a pass outside of a step leaves gathered parameters, which are none of the model's own
        self.task.begin_stage(self.model, stage)
        self.parameters.check_trained(self.model, stage.name)
        if not self._is_restored:
            self.step.begin_stage(stage)
            # Losses of another stage, whose task has other settings, say nothing about this one's.
            self.state.faults.forget()
        if progress.step == 0:
            progress.begin_stage(0, stage.min_delta)
        if self.plan.micro_batch_size is None and (progress.step == 0 or not self.state.limit.is_chosen):
            self.choose_micro_batch(stage)
        if progress.step == 0 and self.saving.every is not None:
            # What a run goes back to before its first interval is over.
            self.saver.save()
        self._is_restored = False
        self.runtime.observer.on_stage_start(
            StageStart(
                number=number,
                stage=stage,
                peak_learning_rate=self.recipe.peak_learning_rate * stage.learning_rate_factor,
                num_epochs=stage.epochs,
                steps_per_epoch=self.steps_per_epoch,
            )
        )

    def choose_micro_batch(self, stage: Stage) -> None:
        """Set the first micro-batch limit: the fastest size that fits, by measuring or as measured here before.

        A run starts near the best size instead of finding it by failures.
        """
        limit = self.state.limit
        ceiling = limit.ceiling
        size, bytes_per_sample, origin = self.search.find(stage)
        limit.choose(size, bytes_per_sample)
        if limit.limit < ceiling:
            reason = f"the fastest that fits of {ceiling} samples or less, {origin}: {limit.limit}"
            self._report("micro_batch", reason, micro_batch_size=limit.limit, bytes_per_sample=bytes_per_sample)

    def _keep_best_of_run(self, best: Best, number: int, end_with: Ending) -> None:
        """Take a stage's weights as the run's if they beat those of the stages before, or are to be kept; save them."""
        score, snapshot = best.score, best.snapshot
        # Without a validation split the last weights are the best known.
        keep = True
        if score is not None and snapshot is not None:
            keep = self.progress.best.offer(score, lambda: snapshot, number, best.validation, end_with)
        if keep:
            self._weights.save("best")

    def _run_epoch(self, number: int, stage: Stage, epoch_in_stage: int) -> None:
        started, progress = time.perf_counter(), self.progress
        epoch = self.recipe.first_epoch(number) + epoch_in_stage
        if progress.step_in_epoch == 0:
            progress.begin_epoch()
        self.loop.run_epoch(stage, epoch)
        validation = self.evaluate("validation")
        best = progress.stage_best
        if validation:
            score = Score.of(validation, self.recipe.monitor, self.recipe.monitor_direction)
            kept = best.offer(score, self.state.take_snapshot, epoch_in_stage, validation, stage.end_with)
            if kept and (stage.end_with == "last" or score.beats(progress.best.score)):
                self._evaluator.keep_answers()
                with self.parameters.temporarily(self.state.average):
                    self._weights.save_soon("best")
        self._weights.save_soon("last")
        self.runtime.observer.on_epoch_end(
            EpochEnd(
                stage_number=number,
                epoch=epoch,
                epoch_in_stage=epoch_in_stage,
                samples_seen=progress.samples_seen,
                train_loss=progress.loss_sum / progress.weight if progress.weight else math.nan,
                validation=validation,
                improved=best.improved,
                best=best.validation.get(self.recipe.monitor),
                seconds=time.perf_counter() - started,
            )
        )

    def capture(self) -> Content:
        """Return the run as a checkpoint holds it; its tensors are the run's own."""
        now = time.perf_counter()
        self.progress.seconds, self.progress.stage_seconds = now - self._started, now - self._stage_started
        description = {
            "recipe": self.recipe.as_dict(),
            "data": plain_values(dict(self.task.describe()), "", []),
            "plan": self.plan.as_dict(),
        }
        return capture(self.state, description)

    def restore(self, values: Mapping[str, Any], tensors: Tensors) -> None:
        """Set the run from a checkpoint. Raises `UserError` if that is of another model."""
        # What a stage freezes may follow from those before it, and from what the model was built with.
        for parameter, is_trained in self._as_built:
            parameter.requires_grad_(is_trained)
        for stage in self.recipe.stages[: int(values["progress"]["stage"]) + 1]:
            self.task.begin_stage(self.model, stage)
        restore(self.state, self.recipe, values, tensors)
        self.step.resume()
        self._is_restored = self._went_back = True
        self._saved.step = self.progress.step

    def save_as_newest(self) -> None:
        """Save a restored run before it trains: the checkpoint then supersedes those after the restored one."""
        now = time.perf_counter()
        self._started, self._stage_started = now - self.progress.seconds, now - self.progress.stage_seconds
        self.saver.save(wait=True)

    def _rewind(self, positions: list[Position]) -> None:
        """Go back to the last good checkpoint and skip batches. Raises `TrainingFailed` after some tries."""
        with self.runtime.watchdog.paused():
            self.saver.settle()
            self._rewinder.rewind(positions, self.restore)

    def _describe_stop(self) -> str:
        step, saved = self.progress.step, self._saved.step
        if self.saving.folder is None:
            return f"stopped after step {step}"
        if saved == step:
            return f"stopped after step {step} and saved"
        return (
            f"stopped after step {step}, of which {'nothing' if saved is None else f'only step {saved}'} could be saved"
        )

    def _report(self, kind: str, reason: str, **fields: Any) -> None:
        self.runtime.observer.on_decision(Decision(kind=kind, reason=reason, fields=fields))

    def _finish(self) -> dict[str, Any]:
        """Test the best weights and return the result. Raises `TrainingFailed` if weights cannot be written."""
        if (snapshot := self.progress.best.snapshot) is not None:
            self.state.restore_snapshot(snapshot)
            if self._went_back:
                # `best/` may be of an epoch that was trained again, otherwise.
                self._weights.save("best")
        self._weights.retry()
        test = self.evaluate("test")
        if unsaved := ", ".join(sorted(self._weights.unsaved)):
            raise TrainingFailed(
                f"{self.saving.folder}: trained to the end, but {unsaved} cannot be written; make room, then --resume it"
            )
        self._evaluator.write_answers(self.saving.folder)
        return run_result(self.recipe, self.progress, test, time.perf_counter() - self._started)

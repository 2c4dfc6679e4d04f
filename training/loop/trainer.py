"""The training loop: stages, epochs, steps. What is learned comes from the recipe, how it is computed from the plan."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..batches.loader import Loader
from ..common.errors import TrainingFailed
from ..common.keyed_random import fold
from ..config.intervals import Interval
from ..config.plan import Plan
from ..config.recipe import Recipe, Stage
from ..devices.interruption import Interrupted, StopRequest
from ..devices.ranks import Ranks
from ..devices.watchdog import Watchdog
from ..observers.events import Decision, EpochEnd, Observer, Observers, RunEnd, StageEnd, StageStart
from ..observers.profiling.sections import UNMARKED, Sections
from ..step.placement import place_model, settle_plan
from ..step.train_step import LEDGER_SIZE
from ..storage.checkpoint import Content
from ..tasks.task import Task
from .best import Best, Score, Snapshot
from .evaluate import evaluate
from .faults import Position
from .progress import Progress
from .results import run_result, stage_row
from .rewind import Rewinder
from .saver import CheckpointSaver, JoiningSaver, SavedStep, Saver
from .state import Tensors, capture, restore
from .step_loop import Rewind, StepLoop
from .utilisation import find_model_flops
from .weight_files import WeightFiles

MODEL_STREAM = 0x1417

_EVALUATION_BATCH_SIZE = 256
"""Most samples in one forward pass of evaluation, where the plan names no micro-batch size."""


def build_model(task: Task, recipe: Recipe) -> nn.Module:
    """Return the task's new model in the recipe's precision; what it draws at random the recipe's seed decides."""
    torch.manual_seed(fold(recipe.seed, MODEL_STREAM) % 2**63)
    return task.build_model().to(dtype=_dtype_of(recipe))


def _dtype_of(recipe: Recipe) -> torch.dtype:
    return torch.float64 if recipe.precision == "float64" else torch.float32


class Trainer:
    """Trains a task by a resolved recipe, as a plan says, and tells its observers."""

    def __init__(
        self,
        *,
        task: Task,
        recipe: Recipe,
        plan: Plan,
        ranks: Ranks,
        observer: Observer,
        model: nn.Module | None = None,
        folder: Path | None = None,
        save_every: Interval | None = None,
        keep: int = 2,
        stop: StopRequest | None = None,
        watchdog: Watchdog | None = None,
        sections: Sections = UNMARKED,
    ) -> None:
        self.task, self.recipe = task, recipe
        self.ranks, self.observer, self.folder = ranks, observer, folder
        self._sections = sections
        self._watchdog = watchdog or Watchdog(None, ranks.rank, None)
        self.model = build_model(task, recipe) if model is None else model
        self.plan = plan = settle_plan(plan, task, self.model, recipe, ranks)
        if plan.gradient_checkpointing:
            task.checkpoint_gradients(self.model)
        self.flat = place_model(self.model, plan, ranks, LEDGER_SIZE)
        self._buffers = [buffer for buffer in self.model.buffers() if buffer.numel()]
        for buffer in self._buffers:
            ranks.broadcast_(buffer)
        self._loader = self._make_loader(_dtype_of(recipe))
        self._saves_at_start = save_every is not None
        self._saved = SavedStep()
        self._saver = self._make_saver(save_every, keep)
        self._loop = StepLoop(
            task=task,
            model=self.model,
            flat=self.flat,
            recipe=recipe,
            plan=plan,
            ranks=ranks,
            loader=self._loader,
            observer=observer,
            saver=self._saver,
            stop=stop or StopRequest(),
            watchdog=self._watchdog,
            sections=sections,
        )
        self._rewinder = Rewinder(folder=folder, ranks=ranks, observer=observer)
        self._weights = WeightFiles(
            folder,
            task=task,
            model=self.model,
            flat=self.flat,
            ranks=ranks,
            observer=observer,
            watchdog=self._watchdog,
            sections=sections,
        )
        self._evaluation_batch_size = plan.micro_batch_size or _EVALUATION_BATCH_SIZE
        self._is_restored = False
        self._started = self._stage_started = time.perf_counter()

    def _make_loader(self, dtype: torch.dtype) -> Loader:
        return Loader(
            self.task,
            seed=self.recipe.seed,
            dtype=dtype,
            device=self.ranks.device,
            channels_last=self.plan.memory_format == "channels_last",
            num_workers=self.plan.num_workers,
            most_workers=self.plan.most_workers,
            observer=self.observer,
            sections=self._sections,
        )

    def _make_saver(self, save_every: Interval | None, keep: int) -> Saver:
        """Return what saves the run on this rank. Without an interval a run is saved when it is stopped."""
        if self.folder is None:
            return JoiningSaver(self._capture) if self.flat.checkpoints_are_collective else Saver()
        return CheckpointSaver(
            self.folder,
            interval=save_every,
            keep=keep,
            steps_per_epoch=-(-self.task.num_samples("train") // self.recipe.resolved.global_batch_size),
            observer=Observers([self.observer, self._saved]),
            capture=self._capture,
            together=self.flat.checkpoints_are_collective,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of a whole epoch."""
        return self._loop.sampler.num_steps

    @property
    def progress(self) -> Progress:
        """Where the run is and what it has found."""
        return self._loop.progress

    def run(self) -> dict[str, Any]:
        """Train all stages from the cursor on and test the best weights; return the result, as it stands in `run.json`.

        Raises `Interrupted` where the ranks agreed to stop, when the run is saved, and `TrainingFailed` where it cannot go
        on.
        """
        self._started = time.perf_counter() - self.progress.seconds
        try:
            with self._watchdog:
                if (model_flops := find_model_flops(self._loop, self._loader, self.ranks)) is not None:
                    self.observer.on_model_flops(model_flops)
                while True:
                    try:
                        self._run_stages()
                        break
                    except Rewind as rewind:
                        self._rewind(rewind.positions)
                result = self._finish()
        except Interrupted:
            raise Interrupted(self._how_it_stopped()) from None
        finally:
            self._loader.close()
            self._saver.close()
        self.observer.on_run_end(RunEnd(result=result, folder=self.folder or Path()))
        return result

    def evaluate(self, split: str) -> dict[str, Any]:
        """Return the metrics of the present weights (or their moving average) on a split, the same on every rank."""
        for buffer in self._buffers:
            # Only a model with batch statistics has buffers that differ between ranks: rank 0's are taken.
            if buffer.is_floating_point():
                self.ranks.broadcast_(buffer)
        with self._sections.evaluate, self.flat.temporarily(self._loop.step.average):
            metrics, self._evaluation_batch_size = evaluate(
                self.task,
                self.model,
                self._loader,
                split,
                ranks=self.ranks,
                share_weights=self.plan.share_weights,
                batch_size=self._evaluation_batch_size,
                forward=self._loop.step.forward,
                equal_passes=self.flat.passes_are_collective,
                on_batch=self._watchdog.beat,
                observer=self.observer,
            )
        return metrics

    def _run_stages(self) -> None:
        while True:
            number = self.progress.stage
            stage = self.recipe.stages[number]
            improved = self._run_stage(number, stage)
            if self._loop.steps_left == 0 or number + 1 == len(self.recipe.stages):
                return
            if not improved:
                self._decide("stages_ended", f"stage {stage.name} improved too little for the next one to start")
                return
            self.progress.begin_stage(number + 1, self.recipe.stages[number + 1].min_delta)

    def _run_stage(self, number: int, stage: Stage) -> bool:
        """Train a stage from the cursor on and restore its best weights; return whether it improved by its threshold."""
        self._begin_stage(number, stage)
        progress, best = self.progress, self.progress.stage_best
        before = progress.best.score
        stopped = "all epochs"
        while True:
            self._run_epoch(number, stage, progress.epoch_in_stage)
            epochs = progress.epoch_in_stage + 1
            if self._loop.steps_left == 0:
                stopped = "max_steps"
                break
            if stage.patience is not None and best.epochs_without_improvement >= stage.patience:
                stopped = f"no gain for {stage.patience} epochs"
                self._decide(
                    "early_stop",
                    f"stage {stage.name}: no gain in {self.recipe.monitor} for {stage.patience} epochs",
                    stage=number,
                    epoch_in_stage=progress.epoch_in_stage,
                )
                break
            if epochs >= stage.epochs:
                break
            progress.epoch_in_stage, progress.step_in_epoch = epochs, 0
        self._weights.save("last", self.flat.values)
        self._restore(best.snapshot or self._take_snapshot())
        self._loop.step.average = None
        row = stage_row(stage, progress, stopped, time.perf_counter() - self._stage_started)
        progress.rows.append(row)
        self._keep_best_of_run(best, number)
        self.observer.on_stage_end(StageEnd(number=number, row=row))
        if stage.improvement_threshold < 0 or before is None or best.score is None:
            return True
        # 0.3 - 0.2 is a little less than 0.1 in binary.
        return best.score.value - before.value >= stage.improvement_threshold - 1e-9

    def _begin_stage(self, number: int, stage: Stage) -> None:
        progress = self.progress
        self._stage_started = time.perf_counter() - progress.stage_seconds
        self.task.begin_stage(self.model, stage)
        if not self._is_restored:
            self._loop.step.begin_stage()
            # Losses of another stage, with other augmentation and smoothing, tell nothing of this one's.
            self._loop.faults.forget()
        if progress.step == 0:
            progress.begin_stage(0, stage.min_delta)
            if self.plan.micro_batch_size is None:
                self._loop.choose_micro_batch(stage)
            if self._saves_at_start:
                # What a run goes back to before its first interval is over.
                self._saver.save()
        self._is_restored = False
        self.observer.on_stage_start(
            StageStart(
                number=number,
                stage=stage,
                peak_learning_rate=self.recipe.peak_learning_rate * stage.learning_rate_factor,
                num_epochs=stage.epochs,
                steps_per_epoch=self._loop.sampler.num_steps,
            )
        )

    def _keep_best_of_run(self, best: Best, number: int) -> None:
        """Take a stage's best weights as the run's where they beat those of the stages before; save them."""
        score, snapshot = best.score, best.snapshot
        # Without a validation split the last weights are the best known.
        keep = True
        if score is not None and snapshot is not None:
            keep = self.progress.best.offer(score, lambda: snapshot, number, best.validation)
        if keep:
            self._weights.save("best", self.flat.values)

    def _run_epoch(self, number: int, stage: Stage, epoch_in_stage: int) -> None:
        started = time.perf_counter()
        progress = self.progress
        epoch = self.recipe.first_epoch(number) + epoch_in_stage
        if progress.step_in_epoch == 0:
            progress.begin_epoch()
        self._loop.run_epoch(stage, epoch)
        validation = self.evaluate("validation")
        improved, best = False, progress.stage_best
        if validation:
            score = Score.of(validation, self.recipe.monitor)
            improved = best.offer(score, self._take_snapshot, epoch_in_stage, validation)
        self.observer.on_epoch_end(
            EpochEnd(
                stage_number=number,
                epoch=epoch,
                epoch_in_stage=epoch_in_stage,
                samples_seen=progress.samples_seen,
                train_loss=progress.loss_sum / progress.weight if progress.weight else math.nan,
                validation=validation,
                improved=improved,
                best=best.validation.get(self.recipe.monitor),
                seconds=time.perf_counter() - started,
            )
        )

    def restore(self, state: Mapping[str, Any], tensors: Tensors) -> None:
        """Take over a checkpoint. Raises `UserError` where its model is another one."""
        restore(self._loop, state, tensors)
        self._is_restored = True
        self._saved.step = self.progress.step

    def save_as_newest(self) -> None:
        """Save a restored run before it trains, as what an older checkpoint's successors are superseded by."""
        now = time.perf_counter()
        self._started, self._stage_started = now - self.progress.seconds, now - self.progress.stage_seconds
        self._saver.save(wait=True)

    def _capture(self) -> Content:
        now = time.perf_counter()
        self.progress.seconds, self.progress.stage_seconds = now - self._started, now - self._stage_started
        return capture(self._loop)

    def _rewind(self, positions: list[Position]) -> None:
        """Go back to the last good checkpoint and pass over batches. Raises `TrainingFailed` after some tries."""

        def put_back(state: Mapping[str, Any], tensors: Tensors) -> Progress:
            self.restore(state, tensors)
            return self.progress

        def samples_of(position: Position) -> list[int]:
            return self._loop.sampler.global_batch(*position).tolist()

        with self._watchdog.paused():
            self._saver.settle()
            self._rewinder.rewind(positions, self._loop.faults.furthest, self.progress, put_back, samples_of)

    def _how_it_stopped(self) -> str:
        step = self.progress.step
        if self.folder is None:
            return f"stopped after step {step}"
        if self._saved.step == step:
            return f"stopped after step {step} and saved: go on with --resume {self.folder}"
        kept = "nothing" if self._saved.step is None else f"only step {self._saved.step}"
        return f"stopped after step {step}, of which {kept} could be saved: go on with --resume {self.folder}"

    def _decide(self, kind: str, reason: str, *, warning: bool = False, **fields: Any) -> None:
        self.observer.on_decision(Decision(kind=kind, reason=reason, warning=warning, fields=fields))

    def _finish(self) -> dict[str, Any]:
        best = self.progress.best
        if best.snapshot is not None:
            self._restore(best.snapshot)
        self._weights.retry()
        test = self.evaluate("test")
        if self._weights.unsaved:
            kinds = ", ".join(sorted(self._weights.unsaved))
            raise TrainingFailed(
                f"{self.folder}: trained to the end, but {kinds} cannot be written; make room, then --resume it"
            )
        return run_result(self.recipe, self.progress, test, time.perf_counter() - self._started)

    def _take_snapshot(self) -> Snapshot:
        """Copy the weights as they are evaluated: their moving average where there is one."""
        values = self.flat.values if self._loop.step.average is None else self._loop.step.average
        return Snapshot(values.clone(), tuple(buffer.clone() for buffer in self._buffers))

    def _restore(self, snapshot: Snapshot) -> None:
        self.flat.set_values(snapshot.values)
        for buffer, kept in zip(self._buffers, snapshot.buffers, strict=True):
            buffer.copy_(kept)

"""The training loop: stages, epochs, steps. What is learned comes from the recipe, how it is computed from the plan."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from training.collectives import Ranks
from training.device import DeviceManager
from training.evaluate import evaluate
from training.flat import FlatParameters
from training.keyed import fold
from training.loader import EpochSampler, Loader
from training.observers.events import Decision, EpochEnd, Observer, RunEnd, RunStart, StageEnd, StageStart, StepEnd
from training.plan import Plan
from training.recipe import Recipe, Stage
from training.run_folder import save_weights
from training.schedule import ema_decay, learning_rate
from training.selection import Best, Score, Snapshot
from training.step import Replica, TrainStep
from training.tasks.task import Task

if TYPE_CHECKING:
    from accelerate import Accelerator

MODEL_STREAM = 0x1417

_FEW_STEPS = 10
"""Steps an epoch below which several processes are called a poor bargain."""

_EVALUATION_BATCH_SIZE = 256
"""Most samples in one forward pass of evaluation, where the plan names no micro-batch size."""


@dataclass(kw_only=True)
class Progress:
    """Where a run is and what it has found."""

    step: int = 0
    stage_first_step: int = 0
    """The optimizer steps that were done when the present stage began."""
    best: Best = field(default_factory=Best)
    rows: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Trains a task by a resolved recipe, as a plan says, and tells its observers."""

    def __init__(
        self,
        *,
        task: Task,
        recipe: Recipe,
        plan: Plan,
        ranks: Ranks,
        accelerator: Accelerator | None,
        observer: Observer,
        folder: Path | None,
    ) -> None:
        self.task, self.recipe, self.plan = task, recipe, plan
        self.progress = Progress()
        self._ranks = ranks
        self._observer = observer
        self._folder = folder
        dtype = torch.float64 if recipe.precision == "float64" else torch.float32
        torch.manual_seed(fold(recipe.seed, MODEL_STREAM) % 2**63)
        self.model = task.build_model().to(device=ranks.device, dtype=dtype)
        replica = Replica(task, self.model)
        self.flat = FlatParameters(replica, replica.ledger)
        self._buffers = [buffer for buffer in self.model.buffers() if buffer.numel()]
        ranks.broadcast_(self.flat.values)
        for buffer in self._buffers:
            ranks.broadcast_(buffer)
        overlapped = plan.reduction == "overlap" and ranks.size > 1
        parallel = DeviceManager.setup_multi_gpu(replica, accelerator) if overlapped else replica
        self.flat.check_attached()
        self._step = TrainStep(
            task=task, replica=replica, parallel=parallel, flat=self.flat, ranks=ranks, recipe=recipe
        )
        self._loader = Loader(task, seed=recipe.seed, dtype=dtype, device=ranks.device, num_workers=plan.num_workers)
        self._sampler = EpochSampler(
            seed=recipe.seed,
            num_samples=task.num_samples("train"),
            costs=task.costs("train"),
            global_batch_size=recipe.resolved.global_batch_size,
            rank=ranks.rank,
            share_weights=plan.share_weights,
            micro_batch_size=plan.micro_batch_size,
        )
        # In float64 where there is one: float32 stops counting at 16.7 million samples.
        wide = torch.float32 if ranks.device.type == "mps" else torch.float64
        self._epoch_totals = torch.zeros(2, dtype=wide, device=ranks.device)

    def run(self) -> dict[str, Any]:
        """Train all stages and test the best weights; return the result, as it stands in `run.json`."""
        started = time.perf_counter()
        try:
            for number, stage in enumerate(self.recipe.stages):
                improved = self._run_stage(number, stage)
                if self._steps_left == 0:
                    break
                if number + 1 < len(self.recipe.stages) and not improved:
                    self._decide("stages_ended", f"stage {stage.name} improved too little for the next one to start")
                    break
        finally:
            self._loader.close()
        result = self._finish(started)
        self._observer.on_run_end(RunEnd(result=result, folder=self._folder or Path()))
        return result

    def evaluate(self, split: str) -> dict[str, Any]:
        """Return the metrics of the present weights (or their moving average) on a split, the same on every rank."""
        for buffer in self._buffers:
            # Only a model with batch statistics has buffers that differ between ranks: rank 0's are taken.
            if buffer.is_floating_point():
                self._ranks.broadcast_(buffer)
        with self.flat.using(self._step.average):
            return evaluate(
                self.task,
                self.model,
                self._loader,
                split,
                ranks=self._ranks,
                share_weights=self.plan.share_weights,
                micro_batch_size=self.plan.micro_batch_size or _EVALUATION_BATCH_SIZE,
            )

    @property
    def _steps_left(self) -> int | None:
        return None if self.recipe.max_steps is None else self.recipe.max_steps - self.progress.step

    def _run_stage(self, number: int, stage: Stage) -> bool:
        """Train a stage and restore its best weights; return whether it improved by its threshold."""
        started = time.perf_counter()
        self.progress.stage_first_step = self.progress.step
        best = Best(stage.min_delta)
        before = self.progress.best.score
        self.task.begin_stage(self.model, stage)
        self._step.begin_stage(stage)
        self._observer.on_stage_start(
            StageStart(
                number=number,
                stage=stage,
                peak_learning_rate=self.recipe.peak_learning_rate * stage.learning_rate_factor,
                num_epochs=stage.epochs,
                steps_per_epoch=self._sampler.num_steps,
            )
        )
        stopped, epochs = "all epochs", 0
        for epoch_in_stage in range(stage.epochs):
            self._run_epoch(number, stage, epoch_in_stage, best)
            epochs += 1
            if self._steps_left == 0:
                stopped = "max_steps"
                break
            if stage.patience is not None and best.epochs_without_improvement >= stage.patience:
                stopped = f"no gain for {stage.patience} epochs"
                self._decide(
                    "early_stop",
                    f"stage {stage.name}: no gain in {self.recipe.monitor} for {stage.patience} epochs",
                    stage=number,
                    epoch_in_stage=epoch_in_stage,
                )
                break
        self._save("last", self.flat.values)
        self._restore(best.snapshot or self._take_snapshot())
        self._step.average = None
        row = {
            "stage": stage.name,
            "epochs": epochs,
            "steps": self.progress.step - self.progress.stage_first_step,
            "stopped": stopped,
            "best_epoch": None if best.epoch is None else best.epoch + 1,
            **{f"validation_{key}": best.validation.get(key) for key in ("accuracy", "macro_f1", "loss")},
            "seconds": round(time.perf_counter() - started, 3),
        }
        self.progress.rows.append(row)
        self._keep_best_of_run(best, number)
        self._observer.on_stage_end(StageEnd(number=number, row=row))
        if stage.improvement_threshold < 0 or before is None or best.score is None:
            return True
        # 0.3 - 0.2 is a little less than 0.1 in binary.
        return best.score.value - before.value >= stage.improvement_threshold - 1e-9

    def _keep_best_of_run(self, best: Best, number: int) -> None:
        """Take a stage's best weights as the run's where they beat those of the stages before; save them."""
        score, snapshot = best.score, best.snapshot
        # Without a validation split the last weights are the best known.
        keep = True
        if score is not None and snapshot is not None:
            keep = self.progress.best.offer(score, lambda: snapshot, number, best.validation)
        if keep:
            self._save("best", self.flat.values)

    def _run_epoch(self, number: int, stage: Stage, epoch_in_stage: int, best: Best) -> None:
        started = time.perf_counter()
        epoch = self.recipe.first_epoch(number) + epoch_in_stage
        samples_seen = self._train_epoch(number, stage, epoch_in_stage, epoch)
        weight, loss_sum = self._epoch_totals.tolist()
        train_loss = loss_sum / max(weight, 1e-12)
        if not math.isfinite(train_loss):
            self._decide(
                "non_finite_loss",
                f"the mean loss of epoch {epoch_in_stage + 1} of stage {stage.name} is {train_loss}: lower the learning rate, "
                "or look for a value in the data that is not finite",
                warning=True,
                epoch=epoch,
            )
        validation = self.evaluate("validation")
        improved = False
        if validation:
            score = Score.of(validation, self.recipe.monitor)
            improved = best.offer(score, self._take_snapshot, epoch_in_stage, validation)
        self._observer.on_epoch_end(
            EpochEnd(
                stage_number=number,
                epoch=epoch,
                epoch_in_stage=epoch_in_stage,
                samples_seen=samples_seen,
                train_loss=train_loss,
                validation=validation,
                improved=improved,
                best=best.validation.get(self.recipe.monitor),
                seconds=time.perf_counter() - started,
            )
        )

    def _train_epoch(self, number: int, stage: Stage, epoch_in_stage: int, epoch: int) -> int:
        """Do an epoch's steps, or as many as the run has left; return the samples trained on, over all ranks."""
        self.model.train()
        self._epoch_totals.zero_()
        schedule = self._schedule(stage)
        steps_before = self._sampler.num_steps * epoch_in_stage
        samples_seen = 0
        for work, batches in self._loader.steps(self._sampler.epoch(epoch), epoch, stage):
            step_in_stage = steps_before + work.step_in_epoch
            rate = schedule(step_in_stage)
            self._reseed()
            outcome = self._step.run(
                batches,
                num_micro_batches=len(work.micro_batches),
                stand_in=partial(self._loader.training_batch, work.global_batch[:1], epoch, stage),
                stage=stage,
                learning_rate=rate,
                ema_decay=ema_decay(step_in_stage, self.recipe.optimizer.ema_decay or 0.0),
            )
            self.progress.step += 1
            samples_seen += len(work.global_batch)
            self._epoch_totals += outcome.ledger
            self._observer.on_step(
                StepEnd(
                    step=self.progress.step,
                    stage_number=number,
                    epoch=epoch,
                    step_in_epoch=work.step_in_epoch,
                    learning_rate=rate,
                    loss=outcome.loss,
                    gradient_norm=outcome.gradient_norm,
                    samples_per_rank=work.samples_per_rank,
                    micro_batches=len(work.micro_batches),
                )
            )
            if self._steps_left == 0:
                break
        return samples_seen

    def _schedule(self, stage: Stage) -> Callable[[int], float]:
        """Return a stage's learning rate as a function of its step; a run cut by `max_steps` anneals by its end."""
        steps_per_epoch = self._sampler.num_steps
        num_steps = stage.epochs * steps_per_epoch
        if self.recipe.max_steps is not None:
            num_steps = min(num_steps, self.recipe.max_steps - self.progress.stage_first_step)
        return partial(
            learning_rate,
            peak=self.recipe.peak_learning_rate * stage.learning_rate_factor,
            num_steps=num_steps,
            warmup_steps=min(round(stage.warmup_epochs * steps_per_epoch), num_steps // 2),
            schedule=stage.schedule,
            final_fraction=stage.final_fraction,
        )

    def _reseed(self) -> None:
        """Make the randomness of a model that draws its own repeatable for this plan."""
        if not self.task.keyed_randomness:
            torch.manual_seed(fold(self.recipe.seed, self.progress.step, self._ranks.rank) % 2**63)

    def announce(self, name: str) -> None:
        """Tell the observers what is about to be trained, and what to expect of it."""
        self._observer.on_run_start(
            RunStart(
                name=name,
                folder=self._folder or Path(),
                recipe=self.recipe,
                plan=self.plan,
                description=self.task.describe(),
                num_parameters=self.flat.num_parameters,
                num_stages=len(self.recipe.stages),
            )
        )
        samples, size = self.task.num_samples("train"), self._ranks.size
        steps = self._sampler.num_steps
        if size > 1 and steps < _FEW_STEPS:
            self._decide(
                "small_data",
                f"{samples} training samples over {size} processes are {steps} steps an epoch and {samples // size} "
                "samples a process: more processes gain little here",
                warning=True,
                samples=samples,
                steps_per_epoch=steps,
                samples_per_process=samples // size,
            )
        if any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in self.model.modules()):
            self._decide(
                "batch_statistics",
                "the model normalises over its batch: results depend on processes and micro-batches, and rank 0's "
                "running statistics are evaluated; layer or group normalisation would keep them exact",
                warning=True,
            )

    def _decide(self, kind: str, reason: str, *, warning: bool = False, **fields: Any) -> None:
        self._observer.on_decision(Decision(kind=kind, reason=reason, warning=warning, fields=fields))

    def _finish(self, started: float) -> dict[str, Any]:
        best = self.progress.best
        if best.snapshot is not None:
            self._restore(best.snapshot)
        test = self.evaluate("test")
        return {
            **{f"test_{key}": value for key, value in test.items()},
            **{f"validation_{key}": value for key, value in best.validation.items() if key != "confusion_matrix"},
            "best_stage": None if best.epoch is None else self.recipe.stages[best.epoch].name,
            "stages": self.progress.rows,
            "steps": self.progress.step,
            "seconds": round(time.perf_counter() - started, 3),
        }

    def _take_snapshot(self) -> Snapshot:
        """Copy the weights as they are evaluated: their moving average where there is one."""
        values = self.flat.values if self._step.average is None else self._step.average
        return Snapshot(values.clone(), tuple(buffer.clone() for buffer in self._buffers))

    def _restore(self, snapshot: Snapshot) -> None:
        self.flat.load(snapshot.values)
        for buffer, kept in zip(self._buffers, snapshot.buffers, strict=True):
            buffer.copy_(kept)

    def _save(self, kind: str, values: torch.Tensor) -> None:
        """Write the model with the given values to the run's folder `kind`; only rank 0 has one."""
        if self._folder is None:
            return
        with self.flat.using(values):
            save_weights(self._folder / kind, self.model.state_dict(), self.task.prediction_spec())

"""A task whose passes run out of memory where they are told to, and trainings of it with outcomes read at once or late."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from slipway.training.common.errors import UserError
from slipway.training.config.intervals import Interval
from slipway.training.config.recipe import Stage
from slipway.training.devices.interruption import Interrupted, StopRequest
from slipway.training.devices.ranks import Ranks
from slipway.training.devices.world import leave_group
from slipway.training.loop.saver import Saver, Saving
from slipway.training.loop.trainer import Trainer
from slipway.training.observers.events import StepEnd
from slipway.training.observers.runtime import Runtime
from slipway.training.tasks.task import Batch
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import PLAN, Recorder, make_recipe, make_task
from tests.training.starved import Ledger, make_world, write_found

Place = Literal["loading", "forward", "loss", "backward"]

NUM_TRAIN, BATCH_SIZE, EPOCHS = 48, 16, 3
NUM_STEPS = EPOCHS * NUM_TRAIN // BATCH_SIZE


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """One time at which memory runs out."""

    sample: int
    """Of the training split: in a pass with it."""
    place: Place
    encounter: int
    """From 1: the how-manieth time that the sample comes there on this rank."""
    rank: int = 0


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is trained and how its outcomes are read."""

    name: str = "training"
    misfits: tuple[Misfit, ...] = ()
    bad_sample: int | None = None
    """Its loss is not a number."""
    lag: int = 0
    """An accelerator's is 1."""
    reduction: str = "flat"
    num_workers: int = 0
    save_each: int = 10**6
    """Steps."""
    stop_at: int | None = None
    """The step at whose end a signal comes, on the last rank."""
    mixed_precision: Literal["no", "fp16"] = "no"
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the recipe."""


class MisfitTask(TensorTask):
    """Four blobs; says out of memory where it is told to."""

    def __init__(self, training: Training, rank: int) -> None:
        self.__dict__.update(make_task(NUM_TRAIN).__dict__)
        self.misfits = {(one.sample, one.place, one.encounter) for one in training.misfits if one.rank == rank}
        self.bad_sample = training.bad_sample
        self._encounters: Counter[tuple[int, Place]] = Counter()
        self._lock = threading.Lock()
        self.is_training = False

    def _meet(self, samples: torch.Tensor, place: Place) -> None:
        if not self.is_training:
            return
        with self._lock:
            for sample in samples.tolist():
                self._encounters[sample, place] += 1
                if (sample, place, self._encounters[sample, place]) in self.misfits:
                    raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {sample} GiB.\nMore of it.")

    def fetch(self, split: str, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        if split == "train":
            self._meet(indices, "loading")
        return super().fetch(split, indices)

    def forward(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        outputs = super().forward(model, batch)
        if batch.keys is not None:
            self._meet(batch.indices, "forward")
            outputs.register_hook(lambda gradient: self._meet(batch.indices, "backward"))
        return outputs

    def losses(self, outputs: torch.Tensor, batch: Batch, stage: Stage | None) -> torch.Tensor:
        losses = super().losses(outputs, batch, stage)
        if stage is None:
            return losses
        self._meet(batch.indices, "loss")
        return losses if self.bad_sample is None else torch.where(batch.indices == self.bad_sample, torch.nan, losses)


class MemorySaver(Saver):
    """Saves the weights here, each so many steps."""

    trainer: Trainer

    def __init__(self, each: int) -> None:
        self._each = each
        self._is_due = False
        self.saved: dict[int, torch.Tensor] = {}

    def is_due(self, step: int) -> bool:
        self._is_due = self._is_due or step % self._each == 0
        return self._is_due

    def save(self, *, wait: bool = False) -> None:
        self._is_due = False
        self.saved[self.trainer.progress.step] = self.trainer.parameters.values.clone()


class Stopper(Recorder):
    """Asks to stop as a signal would."""

    def __init__(self, at: int | None) -> None:
        super().__init__()
        self.stop, self._at = StopRequest(), at

    def on_step(self, event: StepEnd) -> None:
        super().on_step(event)
        if event.step == self._at:
            self.stop.name = "SIGTERM"


def train(training: Training, ranks: Ranks | None = None, folder: Path | None = None) -> dict[str, Any]:
    """Train and return what was found, `values` and each `saved` tensor among it."""
    ranks = ranks or Ranks.alone()
    recipe = make_recipe(
        Stage(name="only", epochs=EPOCHS, weight_decay=0.01),
        **{
            "precision": "float64",
            "learning_rate": 0.02,
            "batch_size": BATCH_SIZE,
            "ema_decay": 0.8,
            **training.options,
        },
    )
    recipe = recipe.resolve(1, training.mixed_precision)
    plan = replace(
        PLAN,
        world_size=ranks.size,
        share_weights=(1.0,) * ranks.size,
        micro_batch_size=BATCH_SIZE,
        num_workers=training.num_workers,
        reduction=training.reduction,  # type: ignore[arg-type]
    )
    task = MisfitTask(training, ranks.rank)
    recorder = Stopper(training.stop_at if ranks.rank == ranks.size - 1 else None)
    saver = MemorySaver(training.save_each)

    class SavingTrainer(Trainer):
        def make_saver(self) -> Saver:
            saver.trainer = self
            return saver if folder is None and ranks.is_main else super().make_saver()

    trainer = SavingTrainer(
        task=task,
        recipe=recipe,
        plan=plan,
        runtime=Runtime(ranks=ranks, observer=recorder, stop=recorder.stop, queues_steps=bool(training.lag)),
        saving=Saving(folder=folder, every=Interval.parse("1epoch", "") if folder else None),
    )
    ledger = Ledger(trainer)
    task.is_training = True
    error = ""
    try:
        trainer.run()
    except (UserError, Interrupted) as caught:
        error = f"{type(caught).__name__}: {caught}"
    state = trainer.state
    return {
        "values": trainer.parameters.values.clone(),
        **{f"saved_{number}": values for number, values in saver.saved.items()},
        "error": error,
        "steps": [event.step for event in recorder.steps],
        "losses": [event.loss for event in recorder.steps],
        "samples": [event.samples_seen for event in recorder.epochs],
        "decisions": [one.kind for one in recorder.decisions],
        "reasons": [one.reason for one in recorder.decisions],
        "overlapped": ledger.overlapped,
        "updates": state.optimizer.updates,
        "loss_scale": [float(state.loss_scale.scale), float(state.loss_scale.quiet_updates)],
        "limit": trainer.state.limit.limit,
    }


def train_all(folder: Path, trainings: list[Training]) -> int:
    """Do trainings one after the other in one world, as one of its ranks."""
    ranks = make_world()
    for training in trainings:
        write_found(folder, ranks, training.name, train(training, ranks))
    leave_group()
    return 0

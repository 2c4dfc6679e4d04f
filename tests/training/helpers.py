"""A trainer in one process, with what it told its observers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from slipway.training.common.errors import UserError
from slipway.training.config.intervals import Interval
from slipway.training.config.plan import Plan
from slipway.training.config.recipe import Recipe, Stage
from slipway.training.devices.ranks import Ranks
from slipway.training.loop.saver import Saving
from slipway.training.loop.trainer import Trainer
from slipway.training.observers.events import EpochEnd, Observer, StageStart, StepEnd
from slipway.training.observers.runtime import Runtime
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.task import Task
from slipway.training.tasks.tensors import TensorTask

PLAN = Plan.alone()


class Recorder(Observer):
    """Keeps the events."""

    def __init__(self) -> None:
        self.steps: list[StepEnd] = []
        self.epochs: list[EpochEnd] = []
        self.stages: list[StageStart] = []
        self.decisions: list[Any] = []

    def on_step(self, event: StepEnd) -> None:
        self.steps.append(event)

    def on_epoch_end(self, event: EpochEnd) -> None:
        self.epochs.append(event)

    def on_stage_start(self, event: StageStart) -> None:
        self.stages.append(event)

    def on_decision(self, event: Any) -> None:
        if event.kind != "waiting":  # how busy the machine of the tests is
            self.decisions.append(event)


def make_task(num_train: int = 50, num_validation: int = 20, **options: Any) -> TensorTask:
    """Return a task of four noisy blobs in eight dimensions."""
    generator = torch.Generator().manual_seed(5)
    centres = torch.randn(4, 8, generator=generator)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.randint(4, (count,), generator=generator)
        return centres[labels] + 0.7 * torch.randn(count, 8, generator=generator), labels

    def make_model() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))

    splits = {"train": draw(num_train), "validation": draw(num_validation), "test": draw(20)}
    return TensorTask(make_model, splits, **options)


def make_recipe(*stages: Stage, **options: Any) -> Recipe:
    """Return a resolved recipe of one process."""
    recipe = TrainingConfig(**{"batch_size": 16, **options}).make_recipe()
    return (replace(recipe, stages=stages) if stages else recipe).resolve(1, "no")


def make_trainer(
    task: Task,
    recipe: Recipe,
    *,
    plan: Plan | None = None,
    folder: Path | None = None,
    save_every: Interval | None = None,
    ranks: Ranks | None = None,
    kind: type[Trainer] = Trainer,
    **runtime: Any,
) -> tuple[Trainer, Recorder]:
    """Return a trainer on the CPU and the recorder that watches it; `runtime` are further fields of the `Runtime`.

    Without a plan it computes whole batches, and does not look for a size: which is the fastest, the machine's noise decides.
    """
    plan = plan or replace(PLAN, micro_batch_size=recipe.resolved.global_batch_size)
    recorder = Recorder()
    trainer = kind(
        task=task,
        recipe=recipe,
        plan=plan,
        runtime=Runtime(**{"ranks": ranks or Ranks.alone(), "observer": recorder, **runtime}),
        saving=Saving(folder=folder, every=save_every),
    )
    return trainer, recorder


def stop_after(trainer: Trainer, steps: int) -> None:
    """Let a trainer save itself and stop, as if it was killed, when it begins the step after so many."""
    run, left = trainer.step.run, iter(range(steps))

    def stopped(*arguments: Any, **options: Any) -> Any:
        if next(left, None) is None:
            trainer.saver.save(wait=True)
            raise KeyboardInterrupt
        return run(*arguments, **options)

    trainer.step.run = stopped  # type: ignore[method-assign]


def launched(monkeypatch: pytest.MonkeyPatch, size: int, rank: int = 0, **more: str) -> None:
    """Set the environment of one rank of a launch."""
    values = {
        "WORLD_SIZE": str(size),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        **more,
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def catch(call: Callable[..., Any], *arguments: Any, **named: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        call(*arguments, **named)
    return caught.value

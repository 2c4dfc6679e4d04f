"""Slipway's side of a comparison: its trainer as it is in use, with journal and progress lines, and a clock on its steps."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.measure import Clock, Cost
from slipway.training.config.plan import Plan
from slipway.training.config.recipe import Recipe
from slipway.training.devices.ranks import Ranks
from slipway.training.loop.trainer import Trainer
from slipway.training.observers.events import EpochEnd, Observer, Observers, StageStart
from slipway.training.observers.journal import Journal
from slipway.training.observers.runtime import Runtime
from slipway.training.observers.screen.console import make_console_observer
from slipway.training.run.announce import announce_run
from slipway.training.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a run left and what it took."""

    weights: torch.Tensor
    """All parameters, flattened, in the order of the model."""
    cost: Cost
    """Of the steps: neither building the trainer nor choosing a micro-batch size."""
    steps: int
    micro_batch_size: int
    """Most samples in one forward pass at the end, as given or as measured to be best."""


class _StepsClock(Observer):
    """Reads the clock at the end of each epoch, from the start of the stage on."""

    def __init__(self, on_start: Callable[[], None]) -> None:
        self._on_start = on_start
        self._clock = Clock()
        self.stages: list[Cost] = []

    def on_stage_start(self, event: StageStart) -> None:
        """Begin once the other ranks are here too."""
        self._on_start()
        self._clock.restart()
        self.stages.append(self._clock.read())

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Note what the stage has taken so far."""
        self.stages[-1] = self._clock.read()


def flatten(model: nn.Module) -> torch.Tensor:
    """Return all parameters as one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone()


def train_with_slipway(
    task: Task, recipe: Recipe, plan: Plan, ranks: Ranks, observers: Sequence[Observer] = ()
) -> Trained:
    """Train as a plan says, rank 0 with the journal and the lines of progress that a run has off a terminal.

    For a clean clock the task has a split to train on and no other. `observers` watch too, on every rank.
    """
    clock = _StepsClock(ranks.barrier)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        told: list[Observer] = [clock, *observers]
        if ranks.is_main:
            console = make_console_observer(log_level="info", stream_is_terminal=False)
            told = [console, Journal(Path(folder) / "events.jsonl"), clock, *observers]
        all_told = Observers(told)
        trainer = Trainer(task=task, recipe=recipe, plan=plan, runtime=Runtime(ranks=ranks, observer=all_told))
        announce_run(trainer, "benchmark")
        result = trainer.run()
        all_told.close()
    return Trained(
        weights=flatten(trainer.model),
        cost=Cost(
            wall_seconds=sum(cost.wall_seconds for cost in clock.stages),
            cpu_seconds=sum(cost.cpu_seconds for cost in clock.stages),
        ),
        steps=result["steps"],
        micro_batch_size=trainer.state.limit.limit,
    )

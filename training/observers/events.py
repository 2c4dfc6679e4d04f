"""What a run tells its observers, and when.

    on_run_start
    for each stage:
        on_stage_start
        for each epoch:
            for each optimizer step:
                on_step
                on_save         before a checkpoint
            on_epoch_end        after validation
        on_stage_end            after the stage's best weights were restored
    on_run_end                  after the test

`on_decision` comes at any time: a choice made for the user, with its reason. `on_profile` comes once, where it was asked
for. A step is told once its outcome is known, on an accelerator while the next one is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.plan import Plan
from ..config.recipe import Recipe, Stage


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """What is about to be trained, on what, and where it is kept."""

    name: str
    folder: Path
    recipe: Recipe
    plan: Plan
    description: Mapping[str, Any]
    """What the task says of its data and model: `data`, `classes`, `samples` by split, `synthetic`, ..."""
    num_parameters: int
    num_stages: int


@dataclass(frozen=True, kw_only=True)
class StageStart:
    """A stage and its size."""

    number: int
    stage: Stage
    peak_learning_rate: float
    num_epochs: int
    steps_per_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnd:
    """One optimizer step, over all ranks."""

    step: int
    """Optimizer steps done in the run, this one included."""
    stage_number: int
    epoch: int
    """Epoch of the run, from 0."""
    step_in_epoch: int
    learning_rate: float
    loss: float
    """Mean over the global batch."""
    gradient_norm: float
    """Of the global gradient, before clipping."""
    samples_per_rank: Sequence[int]
    micro_batches: int
    """Of this rank."""
    data_wait_seconds: float = 0.0
    """How long this rank waited for its micro-batches, or made them itself."""


@dataclass(frozen=True, kw_only=True)
class EpochEnd:
    """An epoch and its validation."""

    stage_number: int
    epoch: int
    epoch_in_stage: int
    samples_seen: int
    """Samples trained on in this epoch, over all ranks."""
    train_loss: float
    validation: Mapping[str, Any]
    """`loss`, `accuracy`, ...; empty where there is no validation split."""
    improved: bool
    best: float | None
    """The best value of the monitored metric in this stage so far."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class StageEnd:
    """A stage's own row of results, as it stands in `run.json`."""

    number: int
    row: Mapping[str, Any]
    """`stage`, `epochs`, `steps`, `stopped` (why), `best_epoch`, `validation_accuracy`, `validation_loss`, `seconds`, ..."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A choice made for the user, or something worth a warning."""

    kind: str
    """The name of the journal event, such as `batch_rule`, `fallback`, `early_stop`, `small_data`."""
    reason: str
    """One sentence for a person."""
    warning: bool = False
    fields: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class SectionTime:
    """What a part of the work took in the steps that were profiled."""

    name: str
    """Of `slipway.training.observers.profiling.sections.Sections`, or `other`."""
    times: int | None
    """How often it was entered; none for what is left beside all sections."""
    seconds: float
    """Of the training thread, in all."""
    device_seconds: float | None
    """What the device computed of it, in all; none on a CPU."""


@dataclass(frozen=True, kw_only=True)
class ProfileEnd:
    """Where the time of some steps of rank 0 went."""

    trace: Path
    """For Perfetto; the other ranks' stand beside it."""
    first_step: int
    """The first of the profiled steps, counted over the run from 1."""
    steps: int
    seconds: float
    """They took in all, with the profiler."""
    seconds_per_step_before: float | None
    """What a step took before the profiler was started: the median; none where there were too few."""
    sections: Sequence[SectionTime]


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """The result of a run, as it stands in `run.json`."""

    result: Mapping[str, Any]
    """`test_accuracy`, `test_macro_f1`, `test_top5_accuracy`, `test_loss`, `stages` (the rows), `steps`, `seconds`, ..."""
    folder: Path


class Observer:
    """Watches a run; overrides what it cares about."""

    def on_run_start(self, event: RunStart) -> None:
        """Before the first stage."""

    def on_stage_start(self, event: StageStart) -> None:
        """Before the first epoch of a stage."""

    def on_step(self, event: StepEnd) -> None:
        """After an optimizer step. Called for every step, so it must be cheap."""

    def on_epoch_end(self, event: EpochEnd) -> None:
        """After the validation of an epoch."""

    def on_stage_end(self, event: StageEnd) -> None:
        """After the last epoch of a stage."""

    def on_decision(self, event: Decision) -> None:
        """At any time."""

    def on_profile(self, event: ProfileEnd) -> None:
        """After the last profiled step."""

    def on_save(self) -> None:
        """Before a checkpoint is taken: write what is held back, for the checkpoint will count it as done."""

    def on_run_end(self, event: RunEnd) -> None:
        """After the test."""

    def close(self) -> None:
        """At the very end, also after a failure: write what is held back, give the terminal back."""


class Observers(Observer):
    """Several observers as one, called in turn."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = list(observers)

    def add(self, observer: Observer) -> None:
        """Have one more observer from now on."""
        self._observers.append(observer)

    def remove(self, observer: Observer) -> None:
        """Have one less from the next event on: what has seen enough shall cost nothing."""
        self._observers = [one for one in self._observers if one is not observer]

    def on_run_start(self, event: RunStart) -> None:
        """Pass the event on."""
        for observer in self._observers:
            observer.on_run_start(event)

    def on_stage_start(self, event: StageStart) -> None:
        """Pass the event on."""
        for observer in self._observers:
            observer.on_stage_start(event)

    def on_step(self, event: StepEnd) -> None:
        """Pass the event on."""
        for observer in self._observers:
            observer.on_step(event)

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Pass the event on."""
        for observer in self._observers:
            observer.on_epoch_end(event)

    def on_stage_end(self, event: StageEnd) -> None:
        """Pass the event on."""
        for observer in self._observers:
            observer.on_stage_end(event)

    def on_decision(self, event: Decision) -> None:
        """Pass the event on."""
        for observer in self._observers:
            observer.on_decision(event)

    def on_profile(self, event: ProfileEnd) -> None:
        """Pass the event on."""
        for observer in self._observers:
            observer.on_profile(event)

    def on_save(self) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_save()

    def on_run_end(self, event: RunEnd) -> None:
        """Pass the event on."""
        for observer in self._observers:
            observer.on_run_end(event)

    def close(self) -> None:
        """Close them all, the newest first: what one has to say at its end is heard by those before it."""
        for observer in reversed(self._observers):
            observer.close()

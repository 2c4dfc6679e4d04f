"""The events of a run, and `Observer`, which receives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.plan import Plan
from ..config.recipe import Recipe, Stage


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """What is trained, how, and the folder of the run."""

    name: str
    folder: Path
    recipe: Recipe
    plan: Plan
    description: Mapping[str, Any]
    """`Task.describe()`, data and model: `data`, `classes`, `samples` by split, `synthetic`, ..."""
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
    """A stage's row of results, as in `run.json`."""

    number: int
    row: Mapping[str, Any]
    """`stage`, `epochs`, `steps`, `stopped` (why), `best_epoch`, `validation_accuracy`, `validation_loss`, `seconds`, ..."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A choice that the program made for the user, or a warning."""

    kind: str
    """The name of the journal event, such as `batch_rule`, `fallback`, `early_stop`, `small_data`."""
    reason: str
    """One sentence for a person."""
    warning: bool = False
    fields: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class SectionTime:
    """The time of a section in the profiled steps."""

    name: str
    """Of `slipway.training.observers.profiling.sections.Sections`, or `other`."""
    times: int | None
    """How often it was entered; `None` for `other`, the time outside of all sections."""
    seconds: float
    """Of the training thread, in total."""
    device_seconds: float | None
    """Of the device that computed it, in total; `None` on a CPU."""


@dataclass(frozen=True, kw_only=True)
class ProfileEnd:
    """Where the time of some steps of rank 0 went."""

    trace: Path
    """For Perfetto; those of the other ranks are in the same folder."""
    first_step: int
    """The first of the profiled steps, counted over the run from 1."""
    steps: int
    seconds: float
    """Of all these steps, with the profiler."""
    seconds_per_step_before: float | None
    """Median time of a step before the profiler was started; `None` after too few steps."""
    sections: Sequence[SectionTime]


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """The result of a run, as in `run.json`."""

    result: Mapping[str, Any]
    """`test_accuracy`, `test_macro_f1`, `test_top5_accuracy`, `test_loss`, `stages` (the rows), `steps`, `seconds`, ..."""
    folder: Path


class Observer:
    """Receives the events of a run. Override what you need, and give it to `train(config, task, observers=[...])`.

    When each method is called::

        on_run_start                    # also when a run is resumed
        for each stage:
            on_stage_start
            for each epoch:
                for each optimizer step:
                    on_step
                    on_save             # if a checkpoint is taken after this step: just before it
                on_epoch_end            # after the validation
            on_stage_end                # after the best weights of the stage were restored
        on_run_end                      # after the test
        close                           # at the very end, also after a failure

    `on_decision` comes at any time, `on_profile` once, with `--profile`. A resumed run continues with the stage, epoch and
    step of its checkpoint. Rank 0 calls the methods, in the thread that trains: a method must not change the model or wait
    for a device, and what it raises ends the run. A step is reported once its outcome is known; on an accelerator the next
    step is computed meanwhile.
    """

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
        """Before a checkpoint is taken: write what is buffered, since the checkpoint counts it as done."""

    def on_run_end(self, event: RunEnd) -> None:
        """After the test."""

    def close(self) -> None:
        """At the very end, also after a failure: write what is buffered, release what is held."""


class Observers(Observer):
    """Several observers as one: passes each event on to all of them, in turn."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = list(observers)

    def add(self, observer: Observer) -> None:
        """Add an observer, from the next event on."""
        self._observers.append(observer)

    def remove(self, observer: Observer) -> None:
        """Remove an observer, from the next event on."""
        self._observers = [one for one in self._observers if one is not observer]

    def close(self) -> None:
        """Close all of them, the newest first: what one reports at its end reaches those before it."""
        for observer in reversed(self._observers):
            observer.close()


def _pass_on(name: str) -> Callable[..., None]:
    def method(self: Observers, *event: Any) -> None:
        for observer in self._observers:
            getattr(observer, name)(*event)

    return method


for _name in vars(Observer):
    if _name.startswith("on_"):
        setattr(Observers, _name, _pass_on(_name))

"""The events of a run, and `Observer`, which receives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..config.plan import Plan
from ..config.recipe import MixedPrecision, Recipe, Stage


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
    """How long this rank waited for its micro-batches, or made them itself; of small steps that are prepared together, the
    first one waits for all."""


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
class CheckpointSaved:
    """A checkpoint is complete on the disk."""

    step: int
    """The step after which it was taken."""
    name: str
    """Of its folder in `checkpoints/`."""
    num_bytes: int

    def to_decision(self) -> Decision:
        """Return it as the console and the journal show it."""
        fields = {"step": self.step, "checkpoint": self.name, "bytes": self.num_bytes}
        return Decision(kind="checkpoint", reason=f"checkpoint {self.name}", fields=fields)


@dataclass(frozen=True, kw_only=True)
class RunResumed:
    """A run continues: the steps after `step` that were reported before do not count."""

    step: int
    """The step of the checkpoint; 0 if the run starts again."""
    processes: int
    recipe_changes: tuple[str, ...] = ()
    """The differences from the earlier recipe, if a change was allowed."""
    reason: str
    """One sentence for a person."""

    def to_decision(self) -> Decision:
        """Return it as the console and the journal show it."""
        fields: dict[str, Any] = {"step": self.step, "processes": self.processes}
        if self.recipe_changes:
            fields["recipe_changes"] = list(self.recipe_changes)
        return Decision(kind="resume", reason=self.reason, fields=fields)


@dataclass(frozen=True, kw_only=True)
class SkippedBatch:
    """A global batch that is skipped because of bad numbers."""

    epoch: int
    """Of the run, from 0."""
    step_in_epoch: int
    samples: list[int]
    """Indices in the training split."""


@dataclass(frozen=True, kw_only=True)
class RunRewound:
    """Numbers went bad, and the run goes back to a checkpoint: the steps after `step` do not count."""

    step: int
    """The step of the checkpoint."""
    skipped_batches: tuple[SkippedBatch, ...]
    """The batches that are skipped from now on."""
    reason: str
    """One sentence for a person."""

    def to_decision(self) -> Decision:
        """Return it as the console and the journal show it."""
        fields = {"step": self.step, "passed_over": [asdict(one) for one in self.skipped_batches]}
        return Decision(kind="rewind", reason=self.reason, warning=True, fields=fields)


@dataclass(frozen=True, kw_only=True)
class ModelFlops:
    """The operations of the model for a sample, and the peak of all devices of the run."""

    flops_per_sample: float
    """Floating-point operations of a forward and backward pass."""
    peak_flops_per_second: float
    """Of all devices in this precision, by their data sheets."""
    mixed_precision: MixedPrecision

    def to_decision(self) -> Decision:
        """Return it as the console and the journal show it."""
        precision = "fp32" if self.mixed_precision == "no" else self.mixed_precision
        reason = (
            f"{self.flops_per_sample / 1e9:.4g} GFLOP a sample; the devices' peak in {precision} is "
            f"{self.peak_flops_per_second / 1e12:.4g} TFLOP/s"
        )
        return Decision(kind="model_flops", reason=reason, fields=asdict(self))


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


@dataclass(frozen=True, kw_only=True)
class StudyStep:
    """The next run of a study begins."""

    number: int
    """From 1."""
    count: int
    name: str
    """The folder of the run in that of the study."""
    reason: str
    """For a person: `fold 2 of 5`."""

    def to_decision(self) -> Decision:
        """Return it as the console shows it."""
        return Decision(kind="study", reason=self.reason, fields={"number": self.number, "of": self.count})


@dataclass(frozen=True, kw_only=True)
class StudyEnd:
    """The result of a study, as in its `run.json`."""

    result: Mapping[str, Any]
    """`mean_test_accuracy`, `std_test_accuracy`, `interval_test_accuracy`, `over`, `worst`, `runs` (the rows)."""
    folder: Path


class Observer:
    """Receives the events of a run. Override what you need, and give it to `train(config, task, observers=[...])`.

    When each method is called::

        on_run_start                    # also when a run is resumed
        on_run_resumed                  # only then; it continues with the stage, epoch and step of its checkpoint
        on_model_flops                  # if the peak of the devices is known
        for each stage:
            on_stage_start
            for each epoch:
                for each optimizer step:
                    on_step
                    on_run_rewound      # if numbers went bad; `on_stage_start` comes again, then the steps after it
                    on_save             # just before a checkpoint is taken; also before the first stage
                on_epoch_end            # after the validation
            on_stage_end                # after the best weights of the stage were restored
        on_run_end                      # after the test
        close                           # at the very end, also after a failure

    `on_checkpoint_saved` comes when a checkpoint is on the disk, some steps after `on_save`; `on_profile` once, with
    `--profile`; `on_decision` at any time. `on_checkpoint_saved`, `on_run_resumed`, `on_run_rewound`, `on_model_flops` and
    `on_study_step` call `on_decision` where they are not overridden.

    In a study (`folds`, `leave_out`, `seeds`) all of this comes for each of its runs, after `on_study_step`; `on_study_end`
    comes after the last one, and `close` once.

    Rank 0 calls the methods, in the thread that trains: a method must not change the model or wait for a device, and what
    it raises ends the run. A step is reported once its outcome is known; on an accelerator the next step is computed
    meanwhile.
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

    def on_checkpoint_saved(self, event: CheckpointSaved) -> None:
        """When a checkpoint is complete on the disk; by default as a decision."""
        self.on_decision(event.to_decision())

    def on_run_resumed(self, event: RunResumed) -> None:
        """Before the first step of a resumed run; by default as a decision."""
        self.on_decision(event.to_decision())

    def on_run_rewound(self, event: RunRewound) -> None:
        """After bad numbers, before the next step; by default as a decision."""
        self.on_decision(event.to_decision())

    def on_model_flops(self, event: ModelFlops) -> None:
        """Before the first step, if the devices' peak is known; by default as a decision."""
        self.on_decision(event.to_decision())

    def on_profile(self, event: ProfileEnd) -> None:
        """After the last profiled step."""

    def on_save(self) -> None:
        """Before a checkpoint is taken: write what is buffered, since the checkpoint counts it as done."""

    def on_run_end(self, event: RunEnd) -> None:
        """After the test."""

    def on_study_step(self, event: StudyStep) -> None:
        """Before each run of a study; by default as a decision."""
        self.on_decision(event.to_decision())

    def on_study_end(self, event: StudyEnd) -> None:
        """After the last run of a study."""

    def close(self) -> None:
        """At the very end, also after a failure: write what is buffered, release what is held."""


class Observers(Observer):
    """Several observers as one: passes each event on to all of them, in turn.

    What one raises carries a note that names it and the method.
    """

    def __init__(self, observers: Sequence[Observer], last: Sequence[Observer] = ()) -> None:
        self._observers, self._last = list(observers), list(last)
        """The last receive each event after those that are added later."""

    def add(self, observer: Observer) -> None:
        """Add an observer, from the next event on."""
        self._observers.append(observer)

    def remove(self, observer: Observer) -> None:
        """Remove an observer, from the next event on."""
        self._observers = [one for one in self._observers if one is not observer]

    @contextmanager
    def for_one_run(self) -> Iterator[None]:
        """Close and remove at the end what was added meanwhile."""
        before = self._observers
        self._observers = list(before)
        try:
            yield
        finally:
            added = [one for one in self._observers if not any(one is other for other in before)]
            try:
                with ExitStack() as stack:
                    for observer in added:
                        stack.callback(_call, observer, "close")
            finally:
                self._observers = before

    def close(self) -> None:
        """Close all of them, the newest first: what one reports at its end reaches those before it."""
        with ExitStack() as stack:  # what one raises keeps none of the others open
            for observer in (*self._observers, *self._last):
                stack.callback(_call, observer, "close")


def _call(observer: Observer, name: str, *event: Any) -> None:
    try:
        getattr(observer, name)(*event)
    except Exception as error:
        if not isinstance(observer, Observers):
            error.add_note(f"raised by the observer {type(observer).__name__}, in {name}")
        raise


def _pass_on(name: str) -> Callable[..., None]:
    def method(self: Observers, *event: Any) -> None:
        for observer in (*self._observers, *self._last):
            _call(observer, name, *event)

    return method


for _name in vars(Observer):
    if _name.startswith("on_"):
        setattr(Observers, _name, _pass_on(_name))

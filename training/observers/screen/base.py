"""What the consoles share: the format of a message, the quiet console, and the counts behind the progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ...devices.memory import peak_bytes
from ..events import (
    CheckpointSaved,
    Decision,
    EpochEnd,
    ModelFlops,
    Observer,
    ProfileEnd,
    RunEnd,
    RunStart,
    StageStart,
    StepEnd,
    StudyEnd,
)
from .tables import WARNING_STYLE, ProfileTable, ResultTable, StudyTable, is_synthetic, plural
from .trend import Trend

TRACE_VIEWER = "https://ui.perfetto.dev"

_FIRST_STEPS, _FIRST_SECONDS = 3, 3.0
"""Before so many steps and so much time, how long a run takes is a guess: the first steps are slower."""

_STYLES = {logging.INFO: "dim", logging.WARNING: WARNING_STYLE, logging.ERROR: "bold red"}


TOLD = frozenset({"resume", "rewind", "finished", "start", "head", "other_options"})
"""Kinds of decisions that a person is told; of the others the journal and `--verbose` tell, and each warning is told."""


def print_message(console: Console, level: int, kind: str, text: str) -> None:
    """Print a message: on a terminal in the colour of its level and above the bars, else as one line."""
    label = logging.getLevelName(level).lower() if level >= logging.WARNING else kind.replace("_", " ")
    if console.is_terminal:
        style = next((style for least, style in reversed(_STYLES.items()) if level >= least), "dim")
        console.print(Text(f"{label}: {text}", style=style))
    else:
        console.out(f"{label}: {text}", highlight=False)


class QuietConsole(Observer):
    """Prints what a person is told, each warning once, and the result table; no progress."""

    tells_all = False
    """Whether every decision is printed, at whatever level."""

    def __init__(self, console: Console, results: Console, level: int) -> None:
        self.console = console
        self._results = results
        self._level = level
        self.is_verbose = self.tells_all or level <= logging.DEBUG
        self._printed: set[tuple[str, str]] = set()
        self._synthetic = False

    def on_run_start(self, event: RunStart) -> None:
        """Remember that the data is synthetic, for the result table."""
        self._synthetic = is_synthetic(event)

    def on_decision(self, event: Decision) -> None:
        """Print what was decided, if its level is printed and it is for a person."""
        level = logging.WARNING if event.warning else logging.INFO
        if not (event.warning or self.is_verbose or event.kind in TOLD):
            return
        if level < self._level or (event.warning and (event.kind, event.reason) in self._printed):
            return
        self._printed.add((event.kind, event.reason))
        self.say(level, event.kind, event.reason)

    def say(self, level: int, kind: str, text: str) -> None:
        """Print a message."""
        print_message(self.console, level, kind, text)

    def on_profile(self, event: ProfileEnd) -> None:
        """Print where the time went."""
        self._results.print()
        self._results.print(ProfileTable(event))
        # Never broken over lines: it is there to be copied.
        self._results.out(f"trace, for {TRACE_VIEWER}: {event.trace}", highlight=False)
        self._results.print()

    def on_run_end(self, event: RunEnd) -> None:
        """Print the result table and the run's folder."""
        self._results.print()
        self._results.print(ResultTable(event, self._synthetic))
        self._results.print()
        self._results.out(f"run folder: {event.folder}", highlight=False)

    def show_report(self, path: Path, steps: Sequence[str]) -> None:
        """Print what may be done next, and where the report of a run is."""
        for number, step in enumerate(steps):
            self._results.out(f"{'' if number else 'next:':<5} {step}", highlight=False)
        self._results.out(f"report: {path}", highlight=False)

    def on_study_end(self, event: StudyEnd) -> None:
        """Print the table of the runs and the study's folder."""
        self._results.print()
        self._results.print(StudyTable(event))
        self._results.print()
        self._results.out(f"study folder: {event.folder}", highlight=False)


@dataclass(frozen=True, kw_only=True)
class ProgressCounts:
    """How far a run is."""

    stage_number: int
    num_stages: int
    stage_name: str
    epoch: int
    """Of the stage, from 1."""
    num_epochs: int
    step: int
    """Of the stage, from 1."""
    num_steps: int
    step_in_epoch: int
    """From 1."""
    steps_per_epoch: int
    loss: float
    losses: tuple[float, ...]
    """Means over equal parts of the run so far, the oldest first."""
    gradient_norm: float
    learning_rate: float
    samples_per_second: float
    data_wait_share: float | None
    """Share of the epoch's time in which rank 0 waited for its micro-batches, or made them itself; `None`: not known."""
    model_flop_utilisation: float | None
    """Share of what the devices could compute; `None` where that is not known."""
    peak_bytes: int | None
    """The most memory that this rank's device, or on a CPU its process, took; `None` where that is not known."""
    saved_seconds_ago: float | None
    """Since the last checkpoint; `None`: there is none yet."""
    stage_seconds_left: float | None
    """As long as the stage is not stopped early; `None` while too few steps were done to tell."""
    run_seconds_left: float | None
    """If no stage is stopped early."""

    @property
    def stages_done(self) -> float:
        """Return the number of stages done; the present one counts as the share of its steps."""
        return self.stage_number + min(1.0, self.step / max(1, self.num_steps))


class ProgressConsole(QuietConsole):
    """Counts steps and samples, and from time to time reports how far the run is."""

    interval_seconds = 5.0
    is_replayed = False
    """Whether the events are read from a journal: what this process waits for and takes is not the run's then."""

    def __init__(
        self, console: Console, results: Console, level: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        super().__init__(console, results, level)
        self._clock = clock
        self._run: RunStart | None = None
        self._stage: StageStart | None = None
        self._started = self._epoch_started = self._next_report = clock()
        self._steps = self._samples = 0
        self._data_wait_seconds = 0.0
        self._peak_samples_per_second: float | None = None
        self._losses = Trend()
        self._saved_at: float | None = None

    def on_run_start(self, event: RunStart) -> None:
        """Start the clock."""
        super().on_run_start(event)
        self._run = event
        self._started = self._epoch_started = self._clock()
        self._steps = 0
        self._losses, self._saved_at = Trend(), None

    def on_stage_start(self, event: StageStart) -> None:
        """Remember the size of the stage."""
        self._stage = event
        self._begin_epoch()

    def on_step(self, event: StepEnd) -> None:
        """Count a step; report the progress only when it is time."""
        self._steps += 1
        self._samples += sum(event.samples_per_rank)
        self._data_wait_seconds += event.data_wait_seconds
        self._losses.add(event.loss)
        now = self._clock()
        if now >= self._next_report:
            self._next_report = now + self.interval_seconds
            self.report_progress(self._count_progress(event, now))

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Start to measure the rate of the next epoch: validation does not count."""
        self._begin_epoch()

    def on_checkpoint_saved(self, event: CheckpointSaved) -> None:
        """Remember when."""
        super().on_checkpoint_saved(event)
        self._saved_at = self._clock()

    def on_model_flops(self, event: ModelFlops) -> None:
        """Note how many samples of this model the devices could compute in a second; show it."""
        super().on_model_flops(event)
        if event.flops_per_sample:
            self._peak_samples_per_second = event.peak_flops_per_second / event.flops_per_sample

    def report_progress(self, progress: ProgressCounts) -> None:
        """Report how far the run is."""
        raise NotImplementedError

    @property
    def _monitor(self) -> str:
        return self._run.recipe.monitor if self._run else "loss"

    def _num_epochs(self, event: EpochEnd) -> int:
        return self._stage.num_epochs if self._stage else event.epoch_in_stage + 1

    @staticmethod
    def _size_of(event: StageStart) -> str:
        return f"{plural(event.num_epochs, 'epoch')} x {plural(event.steps_per_epoch, 'step')}"

    def _begin_epoch(self) -> None:
        self._epoch_started = self._clock()
        self._samples = 0
        self._data_wait_seconds = 0.0

    def _count_progress(self, event: StepEnd, now: float) -> ProgressCounts:
        assert self._run is not None
        assert self._stage is not None
        run, stage, recipe = self._run, self._stage, self._run.recipe
        epoch = event.epoch - recipe.first_epoch(event.stage_number)
        num_steps = stage.num_epochs * stage.steps_per_epoch
        step = epoch * stage.steps_per_epoch + event.step_in_epoch + 1
        stage_left = max(0, num_steps - step)
        run_left = stage_left + stage.steps_per_epoch * sum(
            later.epochs for later in recipe.stages[event.stage_number + 1 :]
        )
        if recipe.max_steps is not None:
            steps_left = max(0, recipe.max_steps - event.step)
            stage_left, run_left = min(stage_left, steps_left), min(run_left, steps_left)
        seconds = now - self._started
        is_known = self._steps >= _FIRST_STEPS and seconds >= _FIRST_SECONDS
        epoch_seconds = max(now - self._epoch_started, 1e-9)
        rate, peak_rate = self._samples / epoch_seconds, self._peak_samples_per_second
        return ProgressCounts(
            stage_number=event.stage_number,
            num_stages=run.num_stages,
            stage_name=stage.stage.name,
            epoch=epoch + 1,
            num_epochs=stage.num_epochs,
            step=step,
            num_steps=num_steps,
            step_in_epoch=event.step_in_epoch + 1,
            steps_per_epoch=stage.steps_per_epoch,
            loss=event.loss,
            losses=self._losses.means,
            gradient_norm=event.gradient_norm,
            learning_rate=event.learning_rate,
            samples_per_second=rate,
            data_wait_share=None if self.is_replayed else min(1.0, self._data_wait_seconds / epoch_seconds),
            model_flop_utilisation=None if peak_rate is None else rate / peak_rate,
            peak_bytes=None if self.is_replayed else peak_bytes(run.plan.device),
            saved_seconds_ago=None if self._saved_at is None else now - self._saved_at,
            stage_seconds_left=stage_left * seconds / self._steps if is_known else None,
            run_seconds_left=run_left * seconds / self._steps if is_known else None,
        )

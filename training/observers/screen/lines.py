"""The console off a terminal: lines that a person reads, for a log file or a pipe."""

from __future__ import annotations

from ..events import EpochEnd, RunStart, StageEnd, StageStart, StudyStep
from .base import ProgressConsole, ProgressCounts
from .epochs import measured_names, words_of_stage
from .header import RunHeader
from .tables import format_duration, format_metric, format_percent, format_rate, format_time_left


class LinesConsole(ProgressConsole):
    """Writes the header, a line for each epoch and stage, and now and then how far the run is."""

    interval_seconds = 10.0

    def on_run_start(self, event: RunStart) -> None:
        """Write the header."""
        super().on_run_start(event)
        header = RunHeader(event)
        self._write(f"slipway {event.name}")
        for label, text in header.rows() if self.is_verbose else header.short_rows():
            self._write(f"{label}: {text.plain}")

    def on_study_step(self, event: StudyStep) -> None:
        """Write which run of the study begins."""
        self._write(event.reason)

    def on_stage_start(self, event: StageStart) -> None:
        """Write the stage's name and size."""
        super().on_stage_start(event)
        self._write(f"{self._stage_words(event.number)} {event.stage.name}: {self._size_of(event)}")

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Write what an epoch measured."""
        super().on_epoch_end(event)
        measured = [
            f"validation {name.replace('_', ' ')} {format_metric(name, event.validation[name])}"
            for name in measured_names(event.validation, self._monitor)
        ]
        parts = [f"train loss {event.train_loss:#.4g}", *measured, format_duration(event.seconds)]
        best = ", best" if event.improved else ""
        self._write(f"epoch {event.epoch_in_stage + 1}/{self._num_epochs(event)}: {', '.join(parts)}{best}")

    def on_stage_end(self, event: StageEnd) -> None:
        """Write how a stage ended."""
        self._write(f"{self._stage_words(event.number)} done: {words_of_stage(event, self._monitor)}")

    def report_progress(self, progress: ProgressCounts) -> None:
        """Write how far the run is."""
        parts = [
            f"loss {progress.loss:#.4g}",
            f"{format_rate(progress.samples_per_second)} samples/s",
        ]
        if progress.data_wait_share is not None:
            parts.append(f"data wait {format_percent(progress.data_wait_share)}")
        if progress.run_seconds_left is not None:
            parts.append(f"at most {format_time_left(progress.run_seconds_left)} left")
        step = f"step {progress.step_in_epoch}/{progress.steps_per_epoch}"
        self._write(f"epoch {progress.epoch}/{progress.num_epochs}, {step}: {', '.join(parts)}")

    def _stage_words(self, number: int) -> str:
        return f"stage {number + 1}/{self._run.num_stages if self._run else '?'}"

    def _write(self, line: str) -> None:
        # Never broken over lines: a line is one thing, for grep.
        self.console.out(line, highlight=False)

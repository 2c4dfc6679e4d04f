"""The console of a run in a notebook: one table, updated in place, with bars while it runs and the result at its end."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ....devices.interruption import Interrupted
from ...events import (
    EpochEnd,
    ProfileEnd,
    RunEnd,
    RunResumed,
    RunStart,
    StageEnd,
    StageStart,
    StepEnd,
    StudyEnd,
    StudyStep,
)
from ..base import TRACE_VIEWER, ProgressConsole, ProgressCounts
from ..header import RunHeader
from ..tables import (
    Grid,
    ProfileTable,
    data_name,
    format_duration,
    format_metric,
    format_rate,
    format_time_left,
    is_synthetic,
    plural,
)
from . import markup
from .display import Show, new_output
from .results import result_html

_MOST_EPOCHS = 20
"""The last ones, which are shown."""

_SECONDS_BETWEEN = 0.3
"""Between two drawings, unless something ends."""


class NotebookConsole(ProgressConsole):
    """Draws a run as HTML at one place. Above the level `info` only warnings and the result are drawn."""

    interval_seconds = 0.5
    tells_all = True  # where a click unfolds it

    def __init__(self, level: int, show: Show | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        nowhere = Console(quiet=True)
        super().__init__(nowhere, nowhere, level, clock)
        self._show = show or new_output()
        self._is_quiet = level > logging.INFO
        self._title = self._part = self._state = ""
        self._lines: list[str] = []
        self._warnings: list[str] = []
        self._notes: list[tuple[str, str]] = []
        self._epochs: list[tuple[int, EpochEnd]] = []
        self._progress: ProgressCounts | None = None
        self._step = 0
        self._result = ""
        self._is_running = False
        self._drawn_at = -_SECONDS_BETWEEN

    def say(self, level: int, kind: str, text: str) -> None:
        """Note a message: a warning below the bars, all else where a click unfolds it."""
        if level >= logging.WARNING:
            self._warnings.append(text)
        elif kind == "finished":
            self._lines.append(text)
        else:
            self._notes.append((kind.replace("_", " "), text))
        self._draw(at_once=level >= logging.WARNING)

    def on_run_start(self, event: RunStart) -> None:
        """Show what is trained."""
        super().on_run_start(event)
        device = f"{event.plan.device}, {plural(event.plan.world_size, 'process', 'es')}"
        synthetic = ", synthetic data" if is_synthetic(event) else ""
        self._title = f"{data_name(event)}{synthetic}, {plural(event.num_parameters, 'parameter')}, {device}"
        self._notes = [(label, text.plain) for label, text in RunHeader(event).rows()] + self._notes
        self._epochs, self._progress, self._step, self._is_running = [], None, 0, True
        self._draw(at_once=True)

    def on_run_resumed(self, event: RunResumed) -> None:
        """Show where the run goes on."""
        self._step = event.step
        self._lines.append(event.reason)
        self._draw(at_once=True)

    def on_study_step(self, event: StudyStep) -> None:
        """Show which run of the study begins."""
        self._part = event.reason
        self._lines, self._notes = [], []

    def on_stage_start(self, event: StageStart) -> None:
        """Show the stage from its first step on."""
        super().on_stage_start(event)
        self._draw()

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Add a row."""
        super().on_epoch_end(event)
        self._epochs.append((self._num_epochs(event), event))
        self._draw()

    def on_stage_end(self, event: StageEnd) -> None:
        """Show the last rows of the stage."""
        self._draw(at_once=True)

    def on_step(self, event: StepEnd) -> None:
        """Count a step."""
        self._step = event.step
        super().on_step(event)

    def report_progress(self, progress: ProgressCounts) -> None:
        """Move the bars."""
        self._progress = progress
        self._draw()

    def on_profile(self, event: ProfileEnd) -> None:
        """Keep where the time went."""
        console = Console(width=100, color_system=None, force_jupyter=False)
        with console.capture() as text:
            console.print(ProfileTable(event))
        self._notes.append(("profile", f"{text.get()}trace, for {TRACE_VIEWER}: {event.trace}"))

    def on_run_end(self, event: RunEnd) -> None:
        """Show the result in place of the bars."""
        self._end(event.result, event)

    def show_report(self, path: Path, steps: Sequence[str]) -> None:
        """Show where the report of the run is."""
        self._lines.append(f"report: {path}")
        self._draw(at_once=True)

    def on_study_end(self, event: StudyEnd) -> None:
        """Show the result of the study."""
        self._part, self._epochs, self._lines, self._notes = "", [], [], []
        self._end(event.result, event)

    def close(self) -> None:
        """Show that a run ended before its end."""
        if self._is_running:
            self._is_running = False
            verb = "stopped" if isinstance(sys.exception(), (Interrupted, KeyboardInterrupt)) else "failed"
            self._state = f"{verb} after step {self._step}" if self._step else f"{verb} before its first step"
            self._draw(at_once=True)

    def _end(self, result: Mapping[str, Any], event: RunEnd | StudyEnd) -> None:
        self._is_running = False
        self._result = result_html(result, event.folder, synthetic=self._synthetic)
        self._state = f"done in {format_duration(result['seconds'])}"
        self._draw(at_once=True)

    def _draw(self, *, at_once: bool = False) -> None:
        now = self._clock()
        if (self._is_quiet and not (self._warnings or self._result)) or (
            not at_once and now < self._drawn_at + _SECONDS_BETWEEN
        ):
            return
        self._drawn_at = now
        name = self._run.name if self._run else ""
        parts = [markup.line(text, bold=bold) for bold, text in [(name, self._title), (self._part, "")] if bold or text]
        if not self._is_quiet:
            parts += [markup.line(text, faint=True) for text in self._lines]
            parts += self._bars()
        parts += [markup.warning(text) for text in self._warnings]
        if not self._is_quiet and self._epochs:
            grid, hidden = self._epoch_grid()
            if hidden:
                parts.append(markup.line(f"{plural(hidden, 'earlier epoch')}, then", faint=True))
            parts.append(markup.table(grid.headings, grid.rows, grid.numbers))
        parts.append(self._result)
        if self._notes and not self._is_quiet:
            parts.append(markup.folded("how it is computed", self._notes))
        self._show(markup.page(*parts), " ".join(text for text in (name, self._part, self._summary()) if text))

    def _bars(self) -> list[str]:
        progress = self._progress
        if not self._is_running or progress is None:
            return [markup.line(self._state or "preparing", faint=True)]
        bars = []
        if progress.num_stages > 1:
            label = f"stage {progress.stage_number + 1}/{progress.num_stages}"
            bars.append(markup.bar(label, progress.stages_done / progress.num_stages, progress.stage_name))
        parts = [
            f"step {progress.step_in_epoch}/{progress.steps_per_epoch}",
            f"loss {progress.loss:#.4g}",
            f"{format_rate(progress.samples_per_second)} samples/s",
            f"{format_duration(self._clock() - self._started)} so far",
        ]
        if progress.run_seconds_left is not None:
            parts.append(f"at most {format_time_left(progress.run_seconds_left)} left")
        text = ", ".join(parts)
        label = f"epoch {progress.epoch}/{progress.num_epochs}"
        return [*bars, markup.bar(label, progress.step_in_epoch / max(1, progress.steps_per_epoch), text)]

    def _epoch_grid(self) -> tuple[Grid, int]:
        """Return the last epochs, and how many came before."""
        shown = self._epochs[-_MOST_EPOCHS:]
        metrics = dict.fromkeys(
            name
            for _, event in shown
            for name, value in event.validation.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        )
        several = len({event.stage_number for _, event in self._epochs}) > 1 or (self._run and self._run.num_stages > 1)
        headings = [
            *(["stage"] if several else []),
            "epoch",
            "train loss",
            *(f"validation\n{name.replace('_', ' ')}" for name in metrics),
            "time",
            "",
        ]
        rows = [self._epoch_row(event, num_epochs, list(metrics), bool(several)) for num_epochs, event in shown]
        return Grid(headings, rows, [*[True] * (len(headings) - 1), False]), len(self._epochs) - len(shown)

    @staticmethod
    def _epoch_row(event: EpochEnd, num_epochs: int, metrics: Sequence[str], with_stage: bool) -> list[str]:
        return [
            *([str(event.stage_number + 1)] if with_stage else []),
            f"{event.epoch_in_stage + 1}/{num_epochs}",
            f"{event.train_loss:#.4g}",
            *(format_metric(name, event.validation.get(name)) for name in metrics),
            format_duration(event.seconds),
            "best" if event.improved else "",
        ]

    def _summary(self) -> str:
        if self._epochs and not self._state:
            num_epochs, event = self._epochs[-1]
            return f"epoch {event.epoch_in_stage + 1}/{num_epochs}, train loss {event.train_loss:#.4g}"
        return self._state or "preparing"

"""The console on a terminal: a header, two bars that are redrawn in place, and a line for each epoch and stage."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..events import EpochEnd, RunEnd, RunStart, StageEnd, StageStart, StudyStep
from .base import ProgressConsole, ProgressCounts
from .tables import (
    WARNING_STYLE,
    WIDE_COLUMNS,
    RunHeader,
    format_duration,
    format_metric,
    format_percent,
    format_rate,
    plural,
)

LARGEST_BAR_COLUMNS, SMALLEST_BAR_COLUMNS = 40, 10

_ROOMY_COLUMNS = 90
"""In a narrower terminal the line of an epoch has shorter names, with which it fits 80 columns."""

_MUCH_WAITING = 0.05
"""Share of the time."""


class ProgressView:
    """The two bars: stages of the run, steps of the stage. Draws the last progress it was given, fitted to the width."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started = clock()
        self.progress: ProgressCounts | None = None
        self.activity = "preparing"
        """What is done at present, if not steps."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        progress = self.progress
        elapsed = format_duration(self._clock() - self._started)
        if progress is None:
            yield Text(f"{self.activity}, {elapsed}", style="dim")
            return
        labels = [
            f"stage {progress.stage_number + 1}/{progress.num_stages}",
            f"epoch {progress.epoch}/{progress.num_epochs}",
        ]
        label_columns = max(map(len, labels)) + 2
        room = options.max_width - label_columns - SMALLEST_BAR_COLUMNS - 2
        notes = [_fitted(self._stage_notes(progress, elapsed), room), _fitted(self._step_notes(progress), room)]
        note_columns = max(note.cell_len for note in notes)
        bar_columns = min(LARGEST_BAR_COLUMNS, options.max_width - label_columns - note_columns - 2)
        bar_columns -= bar_columns % 5  # else one digit more in the notes would change the bar's width
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True, style="cyan")
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        bars = [
            ProgressBar(total=progress.num_stages, completed=progress.stages_done, width=bar_columns),
            ProgressBar(total=max(1, progress.num_steps), completed=progress.step, width=bar_columns),
        ]
        for label, bar, note in zip(labels, bars, notes, strict=True):
            grid.add_row(label, bar, note)
        yield grid

    def _stage_notes(self, progress: ProgressCounts, elapsed: str) -> list[tuple[int, str, str]]:
        left = format_duration(progress.run_seconds_left)
        notes = [
            (0, progress.stage_name, "bold"),
            (2, f"{elapsed} so far", ""),
            (1, f"at most {left} left", ""),
        ]
        if progress.model_flop_utilisation is not None:
            notes.append((3, f"MFU {format_percent(progress.model_flop_utilisation)}", ""))
        return notes

    def _step_notes(self, progress: ProgressCounts) -> list[tuple[int, str, str]]:
        if self.activity:
            return [(0, self.activity, "dim")]
        # The learning rate is left out before the waiting, which the user can do something about.
        waiting = WARNING_STYLE if progress.data_wait_share > _MUCH_WAITING else ""
        return [
            (1, f"step {progress.step:>{len(str(progress.num_steps))}}/{progress.num_steps}", ""),
            (0, f"loss {progress.loss:#.4g}", "" if math.isfinite(progress.loss) else "bold red"),
            (5, f"lr {progress.learning_rate:.2e}", ""),
            (3, f"{format_rate(progress.samples_per_second)} samples/s", ""),
            (4, f"data wait {format_percent(progress.data_wait_share)}", waiting),
            (2, f"ETA {format_duration(progress.stage_seconds_left)}", ""),
        ]


def _fitted(notes: list[tuple[int, str, str]], columns: int) -> Text:
    """Return the notes (priority, text, style) in their order, without the least important ones if they do not fit."""
    kept = sorted(range(len(notes)), key=lambda position: notes[position][0])
    while len(kept) > 1 and sum(len(notes[position][1]) + 2 for position in kept) - 2 > columns:
        kept.pop()
    text = Text("  ").join(Text(notes[position][1], style=notes[position][2]) for position in sorted(kept))
    text.truncate(max(1, columns), overflow="crop")
    return text


class LiveConsole(ProgressConsole):
    """Bars below, lines above. What others write to the terminal in the meantime goes above the bars as well.

    A thread redraws the bars twice a second.
    """

    interval_seconds = 0.5

    def __init__(
        self, console: Console, results: Console, level: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        super().__init__(console, results, level, clock)
        self.view = ProgressView(clock)
        self._live = Live(
            self.view,
            console=console,
            refresh_per_second=2,
            transient=True,
            # Output that goes to a pipe must stay there.
            redirect_stdout=results.is_terminal,
        )

    def on_run_start(self, event: RunStart) -> None:
        """Print the header, start the bars."""
        super().on_run_start(event)
        self.console.print(RunHeader(event))
        self.view.progress, self.view.activity = None, "preparing"
        self._live.start()

    def on_study_step(self, event: StudyStep) -> None:
        """Print which run of the study begins."""
        self.console.print(Text(event.reason, style="bold cyan"))

    def on_stage_start(self, event: StageStart) -> None:
        """Print the stage's name and size."""
        super().on_stage_start(event)
        size = f"{plural(event.num_epochs, 'epoch')} x {plural(event.steps_per_epoch, 'step')}"
        title = (f"stage {event.number + 1}/{self._num_stages}  {event.stage.name}", "bold")
        note = (f"  {size}, peak learning rate {event.peak_learning_rate:.4g}", "dim")
        self.console.print(Text.assemble(title, note))

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Print a line for the epoch."""
        super().on_epoch_end(event)
        num_epochs = self._stage.num_epochs if self._stage else event.epoch_in_stage + 1
        digits = len(str(num_epochs))
        wide = self.console.width >= WIDE_COLUMNS
        roomy = self.console.width >= _ROOMY_COLUMNS
        label = "train loss" if roomy else "loss"
        text = Text(f"  epoch {event.epoch_in_stage + 1:>{digits}}/{num_epochs}  {label} {event.train_loss:<#7.4g}")
        metrics = [
            f"{name.replace('_', ' ')} {format_metric(name, event.validation[name]):<6}"
            for name in self._format_metrics(wide)
            if name in event.validation
        ]
        if metrics:
            if wide and not roomy:
                metrics[0] = metrics[0].removeprefix("loss ")
            text.append(f"{'  validation ' if wide else ' '}{'  '.join(metrics)}")
        text.append(f"  {format_duration(event.seconds):>7}")
        if event.improved:
            text.append("  best", style="bold green")
        self.console.print(text)

    def on_stage_end(self, event: StageEnd) -> None:
        """Print a line for the stage."""
        row = event.row
        parts = [f"  {plural(int(row['epochs']), 'epoch')}"] if "epochs" in row else ["  done"]
        monitor = self._run.recipe.monitor if self._run else "accuracy"
        name = "accuracy" if row.get("validation_accuracy") is not None else monitor
        if row.get(f"validation_{name}") is not None:
            parts.append(f"validation {name.replace('_', ' ')} {format_metric(name, row[f'validation_{name}'])}")
        if row.get("best_epoch") is not None:
            parts.append(f"best epoch {row['best_epoch']}")
        if row.get("stopped"):
            parts.append(f"stopped: {row['stopped']}")
        self.console.print(Text(", ".join(parts), style="green"))
        self.view.activity = "preparing the next stage" if event.number + 1 < self._num_stages else "testing"

    def on_run_end(self, event: RunEnd) -> None:
        """Remove the bars and print the result."""
        self._live.stop()
        super().on_run_end(event)

    def report_progress(self, progress: ProgressCounts) -> None:
        """Give the bars what to draw next."""
        self.view.progress, self.view.activity = progress, ""

    def close(self) -> None:
        """Stop drawing. After a failure the bars stay, to show how far the run came."""
        if self._live.is_started:
            self._live.transient = False
            self._live.stop()

    @property
    def _num_stages(self) -> int:
        return self._run.num_stages if self._run else 1

    def _format_metrics(self, wide: bool) -> list[str]:
        monitored = self._run.recipe.monitor if self._run else "accuracy"
        return list(dict.fromkeys(["loss", "accuracy", monitored] if wide else [monitored]))

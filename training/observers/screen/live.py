"""The console on a terminal: a header, bars that are redrawn in place, and a line for each epoch."""

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
from .epochs import EpochTable, words_of_stage
from .header import RunHeader
from .tables import WARNING_STYLE, format_bytes, format_duration, format_percent, format_rate, format_time_left
from .trend import sparkline

LARGEST_BAR_COLUMNS, SMALLEST_BAR_COLUMNS = 40, 10
_TREND_COLUMNS = 16

_MUCH_WAITING = 0.05
"""Share of the time."""

Notes = list[tuple[int, str, str]]
"""Priority, the least first, text and style."""


class ProgressView:
    """Bars of stages and of the epoch's steps, and a line of numbers. Draws what it was given last, fitted to the width."""

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
        of_run = self._run_notes(progress, elapsed)
        rows = [
            (
                f"epoch {progress.epoch}/{progress.num_epochs}",
                ProgressBar(total=max(1, progress.steps_per_epoch), completed=progress.step_in_epoch),
                self._epoch_notes(progress) + ([] if progress.num_stages > 1 else of_run),
            )
        ]
        if progress.num_stages > 1:
            label = f"stage {progress.stage_number + 1}/{progress.num_stages}"
            bar = ProgressBar(total=progress.num_stages, completed=progress.stages_done)
            rows.insert(0, (label, bar, [(1, progress.stage_name, "bold"), *of_run]))
        label_columns = max(len(label) for label, _, _ in rows) + 2
        room = options.max_width - label_columns - SMALLEST_BAR_COLUMNS - 2
        fitted = [_fitted(notes, room) for _, _, notes in rows]
        bar_columns = options.max_width - label_columns - max(note.cell_len for note in fitted) - 2
        bar_columns = min(LARGEST_BAR_COLUMNS, bar_columns)
        bar_columns -= bar_columns % 5  # else one digit more in the notes would change the bar's width
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True, style="cyan")
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        for (label, bar, _), note in zip(rows, fitted, strict=True):
            bar.width = bar_columns
            grid.add_row(label, bar, note)
        yield grid
        yield Text(self.activity, style="dim") if self.activity else _fitted(self._numbers(progress), options.max_width)

    @staticmethod
    def _run_notes(progress: ProgressCounts, elapsed: str) -> Notes:
        notes = [(2, f"{elapsed} so far", "")]
        if progress.run_seconds_left is not None:
            notes.append((0, f"at most {format_time_left(progress.run_seconds_left)} left", ""))
        return notes

    @staticmethod
    def _epoch_notes(progress: ProgressCounts) -> Notes:
        digits = len(str(progress.steps_per_epoch))
        notes = [(0, f"step {progress.step_in_epoch:>{digits}}/{progress.steps_per_epoch}", "")]
        if progress.num_stages > 1 and progress.stage_seconds_left is not None:
            notes.append((1, f"stage: {format_time_left(progress.stage_seconds_left)} left", ""))
        return notes

    @staticmethod
    def _numbers(progress: ProgressCounts) -> Notes:
        notes = [(0, f"loss {progress.loss:#.4g}", "" if math.isfinite(progress.loss) else "bold red")]
        if len(progress.losses) > 2:
            notes.append((4, sparkline(progress.losses, _TREND_COLUMNS), "cyan"))
        notes += [
            (1, f"{format_rate(progress.samples_per_second)} samples/s", ""),
            (3, f"gradient norm {progress.gradient_norm:.3g}", ""),
        ]
        if progress.data_wait_share is not None:
            # The learning rate is left out before the waiting, which the user can do something about.
            waiting = WARNING_STYLE if progress.data_wait_share > _MUCH_WAITING else ""
            notes.append((2, f"data wait {format_percent(progress.data_wait_share)}", waiting))
        if progress.model_flop_utilisation is not None:
            notes.append((5, f"MFU {format_percent(progress.model_flop_utilisation)}", ""))
        if progress.peak_bytes is not None:
            notes.append((6, f"peak {format_bytes(progress.peak_bytes)}", ""))
        if progress.saved_seconds_ago is not None:
            notes.append((7, f"saved {format_duration(progress.saved_seconds_ago)} ago", ""))
        return [*notes, (8, f"lr {progress.learning_rate:.2e}", "")]


def _fitted(notes: Notes, columns: int) -> Text:
    """Return the notes in their order, without the least important ones if they do not fit."""
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
        self._epochs: EpochTable | None = None
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
        self.console.print(RunHeader(event, is_whole=self.is_verbose))
        self.view.progress, self.view.activity = None, "preparing"
        self._live.start()

    def on_study_step(self, event: StudyStep) -> None:
        """Print which run of the study begins."""
        self._print(Text(event.reason, style="bold cyan"))

    def on_stage_start(self, event: StageStart) -> None:
        """Print the stage's name and size."""
        super().on_stage_start(event)
        self._epochs = None
        name = (
            f"stage {event.number + 1}/{self._num_stages}  {event.stage.name}" if self._num_stages > 1 else "training"
        )
        note = f"  {self._size_of(event)}, peak learning rate {event.peak_learning_rate:.4g}"
        self._print(Text(), Text.assemble((name, "bold"), (note, "dim")))

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Print a line for the epoch, below the names of its numbers if it is the first of a stage."""
        super().on_epoch_end(event)
        if self._epochs is None:
            self._epochs = EpochTable(event.validation, self._num_epochs(event), self._monitor, self.console.width)
            self._print(Text(self._epochs.heading, style="dim"))
        line = Text(self._epochs.line(event))
        if event.improved:
            line.append("  best", style="bold green")
        self._print(line)

    def on_stage_end(self, event: StageEnd) -> None:
        """Print a line for the stage."""
        self._print(Text(f"  {words_of_stage(event, self._monitor)}", style="green"))
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

    def _print(self, *lines: Text) -> None:
        for line in lines:
            self.console.print(line, no_wrap=True, overflow="ellipsis")

    @property
    def _num_stages(self) -> int:
        return self._run.num_stages if self._run else 1

"""The list of runs as a table: as many columns as the width takes, what matters most first, and what is left out is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from ...training.common.program.shown import printable
from ...training.observers.screen.tables import format_duration, format_metric, format_rate
from .choose import metric_of, plain_key, value_of
from .summary import RunSummary

_GAP = 2
_LEAST_NAME, _NAME_SHARE = 12, 0.4
"""Of the width: a longer name is folded before a column is left out."""
_ASKED, _OF_TEST, _OTHER_METRIC = 2, 10, 11
"""Ranks."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column; of several those of the lowest rank are kept."""

    key: str
    """The name of its value."""
    heading: str
    cells: Sequence[str]
    is_number: bool = False
    rank: int = 0

    @property
    def width(self) -> int:
        """The columns of the terminal that it takes."""
        return max(map(len, (*self.heading.split("\n"), *self.cells)))

    @property
    def name(self) -> str:
        """The heading in one line."""
        return self.heading.replace("\n", " ")


def columns_of(runs: Sequence[RunSummary], asked: Sequence[str] = ()) -> list[Column]:
    """Return all columns of a list in their order, without those that no run has; `asked` are keys that matter now."""
    usual: tuple[tuple[str, str, Callable[[RunSummary], Any], bool, int], ...] = (
        ("name", "run", lambda run: printable(run.name), False, 0),
        ("state", "state", lambda run: run.state, False, 1),
        ("stage", "stage", lambda run: run.stage, False, 9),
        ("step", "step", lambda run: None if run.step is None else f"{run.step:,}", True, 5),
        ("samples_per_second", "samples/s", lambda run: _or_none(format_rate, run.samples_per_second), True, 6),
        ("batch_size", "batch", lambda run: _or_none(str, run.batch_size), True, 7),
        ("num_processes", "devices", _devices, False, 8),
        ("duration_seconds", "duration", lambda run: _or_none(format_duration, run.duration_seconds), True, 4),
        ("age_seconds", "age", lambda run: format_age(run.age_seconds), True, 3),
        ("parent", "parent", lambda run: run.parent, False, 3),
        ("checkpoint", "checkpoint", lambda run: run.checkpoint, False, 12),
        ("started", "started", lambda run: _or_none(_minute, run.started), False, 13),
    )
    made = [
        Column(
            key=key,
            heading=heading,
            cells=[printable(found) if (found := get(run)) else "" for run in runs],
            is_number=is_number,
            rank=rank,
        )
        for key, heading, get, is_number, rank in usual
    ]
    metrics = _metric_columns(runs)
    shown = {column.key for column in (*made, *metrics)}
    own = [_column_of(runs, key) for key in asked if plain_key(key) not in shown and not _has_metric(runs, key)]
    return [column for column in (*made[:4], *own, *metrics, *made[4:]) if any(column.cells)]


def columns_by_name(runs: Sequence[RunSummary], keys: Sequence[str]) -> list[Column]:
    """Return the columns of these keys, in this order."""
    usual = {column.key: column for column in columns_of(runs)}
    return [usual.get(plain_key(key)) or _column_of(runs, key) for key in keys]


def fitting(columns: Sequence[Column], width: int) -> tuple[list[Column], list[Column]]:
    """Return the columns that fit a width in their order, and those that do not; the first may be folded."""
    first = min(columns[0].width, max(_LEAST_NAME, int(_NAME_SHARE * width)))
    room, kept = width - first, {0}
    for place in sorted(range(1, len(columns)), key=lambda place: (columns[place].rank, place)):
        needed = _GAP + columns[place].width
        if needed <= room or columns[place].rank <= 1:
            room -= needed
            kept.add(place)
    return (
        [column for place, column in enumerate(columns) if place in kept],
        [column for place, column in enumerate(columns) if place not in kept],
    )


def draw(columns: Sequence[Column]) -> Table:
    """Return the table."""
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    for number, column in enumerate(columns):
        justify, is_fixed = "right" if column.is_number else "left", number > 0 and column.rank > 0
        table.add_column(
            column.heading,
            justify=justify,  # type: ignore[arg-type]
            overflow="fold",
            vertical="top",
            no_wrap=is_fixed,
            min_width=column.width if is_fixed else None,
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, row))
    return table


def total_width(columns: Sequence[Column]) -> int:
    """Return the columns of a terminal that a table takes in which nothing is folded."""
    return sum(column.width + _GAP for column in columns)


def format_age(seconds: float) -> str:
    """Return how long ago something was: `12 s`, `5 min`, `3 h`, `2 d`."""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _metric_columns(runs: Sequence[RunSummary]) -> list[Column]:
    """Return a column for each metric: those that stand for a run first, and of each run in its order."""
    main = dict.fromkeys(run.metric for run in runs if run.metric is not None)
    names = dict.fromkeys([*main, *(name for run in runs for name in run.metrics)])
    return [
        Column(
            key=name,
            heading=_heading(name),
            cells=[format_metric(name, run.metrics[name]) if name in run.metrics else "" for run in runs],
            is_number=True,
            rank=_ASKED if name in main else _OTHER_METRIC if name.startswith("validation_") else _OF_TEST,
        )
        for name in names
    ]


def _heading(name: str) -> str:
    """Return `test\\nmacro f1` for `test_macro_f1`."""
    for split in ("mean_test", "test", "validation"):
        if name.startswith(f"{split}_"):
            return f"{split.replace('_', ' ')}\n{printable(name.removeprefix(f'{split}_').replace('_', ' '))}"
    return printable(name.replace("_", " "))


def _has_metric(runs: Sequence[RunSummary], key: str) -> bool:
    return any(metric_of(run, plain_key(key)) for run in runs)


def _column_of(runs: Sequence[RunSummary], key: str) -> Column:
    values = [value_of(run, key) for run in runs]
    cells = [_cell(runs[number], key, value) for number, value in enumerate(values)]
    is_number = all(value is None or isinstance(value, (int, float)) for value in values)
    return Column(
        key=plain_key(key),
        heading=printable(key.strip().lstrip("-").replace("_", " ")),
        cells=cells,
        is_number=is_number,
        rank=_ASKED,
    )


def _cell(run: RunSummary, key: str, value: Any) -> str:
    if value is None:
        return ""
    if (metric := metric_of(run, plain_key(key))) is not None:
        is_other = metric.startswith("validation_") and not plain_key(key).startswith("validation_")
        return f"{format_metric(metric, value)}{' (validation)' if is_other else ''}"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else printable(str(value))


def _or_none(show: Callable[[Any], str], value: Any) -> str | None:
    return None if value is None else show(value)


def _devices(run: RunSummary) -> str | None:
    return None if run.device is None else f"{run.num_processes or 1} {run.device}"


def _minute(started: str) -> str:
    return started[:16].replace("T", " ")

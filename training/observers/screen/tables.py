"""The result table and the profile of a run, which draw themselves, and the formats of their numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table
from rich.text import Text

from ..events import ProfileEnd, RunEnd, RunStart, SectionTime, StudyEnd

NOTHING = "-"
NO_TEST = "no test split was measured"
WIDE_COLUMNS = 80
"""In a narrower terminal, what matters less is left out."""
WARNING_STYLE = "yellow"


def format_duration(seconds: float) -> str:
    """Return a duration as `4.2 s`, `3:20` (minutes) or `1:02:03` (hours)."""
    if not math.isfinite(seconds):
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_time_left(seconds: float) -> str:
    """Return an estimate of a duration, as `format_duration` without parts of a second."""
    return f"{seconds:.0f} s" if seconds < 59.5 else format_duration(seconds)


def format_rate(value: float) -> str:
    """Return a rate in few digits: `87.3`, `912`, `1.2k`, `34k`, `5.6M`."""
    for divisor, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= divisor:
            scaled = value / divisor
            return f"{scaled:.1f}{suffix}" if scaled < 10 else f"{scaled:.0f}{suffix}"
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def format_bytes(value: float) -> str:
    """Return an amount of memory in three digits: `812 MB`, `3.41 GB`."""
    return f"{value / 1e9:.3g} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def format_percent(value: float) -> str:
    """Return a share as a percentage, `93.4 %`."""
    return f"{100 * value:.1f} %"


def format_metric(name: str, value: Any) -> str:
    """Return a metric as text: accuracies in percent, everything else in four digits; `-` for `None`."""
    if value is None:
        return NOTHING
    if not isinstance(value, (int, float)):
        return str(value)
    return format_percent(value) if "accuracy" in name else f"{value:#.4g}"


def metric_order(names: Iterable[str], monitor: str) -> list[str]:
    """Return metrics as every table has them: what is monitored, the accuracy, the others in their order, top-5, the loss."""
    known = list(dict.fromkeys(names))
    first = {monitor: 0, "accuracy": 1, "macro_f1": 2, "top5_accuracy": 4, "loss": 5}
    return sorted(known, key=lambda name: 0 if name == monitor else first.get(name, 3))


def plural(number: int, noun: str, ending: str = "s") -> str:
    """Return `1 epoch`, `2 epochs`, `1,000 epochs`."""
    return f"{number:,} {noun}{ending if number != 1 else ''}"


def is_synthetic(event: RunStart) -> bool:
    """Return whether the task says that its data are generated."""
    return bool(event.description.get("synthetic", False))


def data_name(event: RunStart) -> str:
    """Return the name of the data, or else of the task."""
    return str(event.description.get("data", event.recipe.task.name))


@dataclass(frozen=True)
class _Column:
    heading: str
    key: str
    format: Callable[[Any], str] = str
    number: bool = True
    optional: bool = False
    wide_only: bool = False


def _metric(name: str) -> Callable[[Any], str]:
    return lambda value: format_metric(name, value)


_STAGE_COLUMNS = (
    _Column("validation\nby stage", "stage", number=False),
    _Column("epochs", "epochs"),
    _Column("best\nepoch", "best_epoch"),
    _Column("accuracy", "validation_accuracy", _metric("accuracy")),
    _Column("macro-F1", "validation_macro_f1", _metric("macro_f1"), optional=True),
    _Column("loss", "validation_loss", _metric("loss")),
    _Column("stopped", "stopped", number=False, wide_only=True),
    _Column("time", "seconds", format_duration),
)

_TEST_COLUMNS = (
    _Column("accuracy", "test_accuracy", _metric("accuracy")),
    _Column("macro-F1", "test_macro_f1", _metric("macro_f1")),
    _Column("top-5\naccuracy", "test_top5_accuracy", _metric("accuracy")),
    _Column("loss", "test_loss", _metric("loss")),
)


@dataclass(frozen=True)
class ResultTable:
    """The result of a run: a row for each stage, and the test."""

    event: RunEnd
    synthetic: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        stages, test = self.grids(wide=options.max_width >= WIDE_COLUMNS)
        yield stages
        yield Text()
        yield test or Text(NO_TEST)

    def grids(self, *, wide: bool = True) -> tuple[Grid, Grid | None]:
        """Return the table of the stages and that of the test; None: there was no test."""
        result = self.event.result
        stages = result.get("stages", ())
        columns = _columns_of_task(_STAGE_COLUMNS, stages, "validation_")
        by_stage = _grid([column for column in columns if wide or not column.wide_only], stages)
        columns = _columns_of_task(_TEST_COLUMNS, [result], "test_")
        if all(result.get(column.key) is None for column in columns):
            return by_stage, None
        label = _Column("test (synthetic data)" if self.synthetic else "test", "label", number=False)
        return by_stage, _grid((label, *columns), [{**result, "label": "best weights"}])


def _columns_of_task(columns: Sequence[_Column], rows: Sequence[Mapping[str, Any]], prefix: str) -> list[_Column]:
    """Return columns with those of a task's own metrics before the loss, and without those of classes if it has none."""
    usual = {column.key for column in (*columns, *_TEST_COLUMNS, *_STAGE_COLUMNS)}
    own = dict.fromkeys(
        key
        for row in rows
        for key, value in row.items()
        if key.startswith(prefix) and key not in usual | {f"{prefix}top5_accuracy"} and isinstance(value, (int, float))
    )
    loss = f"{prefix}loss"
    if any(row.get(loss) is not None for row in rows):
        measured = {key for row in rows for key, value in row.items() if value is not None}
        columns = [one for one in columns if one.key in measured or not one.key.startswith(prefix)]
    place = next((number for number, one in enumerate(columns) if one.key == loss), len(columns))
    names = [(key, key.removeprefix(prefix)) for key in own]
    return [
        *columns[:place],
        *(_Column(name.replace("_", " "), key, _metric(name)) for key, name in names),
        *columns[place:],
    ]


@dataclass(frozen=True)
class Grid:
    """The texts of a table, whatever draws it."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[bool]
    """Which columns hold numbers, and stand at the right."""

    def __rich__(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        for heading, is_number in zip(self.headings, self.numbers, strict=True):
            justify: JustifyMethod = "right" if is_number else "left"
            table.add_column(heading, justify=justify, overflow="fold", no_wrap=is_number)
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table


def _grid(columns: Sequence[_Column], rows: Sequence[Mapping[str, Any]]) -> Grid:
    columns = [column for column in columns if not column.optional or any(column.key in row for row in rows)]
    return Grid(
        headings=[column.heading for column in columns],
        rows=[
            [NOTHING if row.get(column.key) is None else column.format(row[column.key]) for column in columns]
            for row in rows
        ],
        numbers=[column.number for column in columns],
    )


_STUDY_COLUMNS = (
    _Column("run", "name", number=False),
    _Column("test\naccuracy", "test_accuracy", _metric("accuracy")),
    _Column("macro-F1", "test_macro_f1", _metric("macro_f1"), optional=True),
    _Column("loss", "test_loss", _metric("loss"), wide_only=True),
    _Column("best stage", "best_stage", number=False, wide_only=True),
    _Column("best\nepoch", "best_epoch"),
    _Column("time", "seconds", format_duration),
)


_STUDY_METRICS = {"accuracy": "test accuracy", "macro_f1": "macro-F1", "loss": "test loss"}
_MEAN = "mean_test_"


@dataclass(frozen=True)
class StudyTable:
    """The result of a study: a row for each run, then mean, interval and the worst."""

    event: StudyEnd

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        runs, means = self.grids(wide=options.max_width >= WIDE_COLUMNS)
        yield runs
        yield Text()
        yield means
        if worst := self.worst():
            yield Text()
            yield Text(worst)

    def grids(self, *, wide: bool = True) -> tuple[Grid, Grid]:
        """Return the table of the runs and that of their means."""
        result = self.event.result
        columns = _columns_of_task(_STUDY_COLUMNS, result["runs"], "test_")
        runs = _grid([column for column in columns if wide or not column.wide_only], result["runs"])
        measured = [name.removeprefix(_MEAN) for name in result if name.startswith(_MEAN)]
        own = [name for name in measured if name not in (*_STUDY_METRICS, "top5_accuracy")]
        names = [name for name in ("accuracy", "macro_f1", *own, "loss") if name in measured]
        heads = (
            _Column(f"over {result['over']}", "label", number=False),
            _Column("mean", "mean"),
            _Column("standard\ndeviation", "std"),
            _Column("95 % interval\n(Student's t)", "interval"),
        )
        return runs, _grid(heads, [self._row(name, _STUDY_METRICS.get(name, f"test {name}")) for name in names])

    def worst(self) -> str:
        """Return a line on the worst run; empty if none is."""
        if (worst := self.event.result["worst"]) is None:
            return ""
        value = format_metric(worst["metric"], worst["value"])
        return f"the worst is {worst['name']}: {worst['metric'].replace('_', ' ')} {value}"

    def _row(self, name: str, label: str) -> dict[str, str | None]:
        mean, std, interval = (self.event.result[f"{kind}_test_{name}"] for kind in ("mean", "std", "interval"))
        return {
            "label": label,
            "mean": format_metric(name, mean),
            "std": None if std is None else format_metric(name, std),
            "interval": None if interval is None else " to ".join(format_metric(name, end) for end in interval),
        }


@dataclass(frozen=True)
class ProfileTable:
    """Milliseconds of a mean step and shares of the time, section by section."""

    event: ProfileEnd

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        event = self.event
        has_device = any(section.device_seconds is not None for section in event.sections)
        last = event.first_step + event.steps - 1
        steps = f"step {last}" if event.steps == 1 else f"steps {event.first_step} to {last}"
        yield Text(f"where the time of {steps} went", style="bold")
        table = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        table.add_column("section", no_wrap=True)
        for heading in ("ms a step", "share", *(["device\nms a step"] if has_device else [])):
            table.add_column(heading, justify="right", no_wrap=True)
        for section in event.sections:
            if section.times != 0 or section.name != "evaluate":
                self._add_row(table, section, has_device=has_device)
        table.add_section()
        self._add_row(table, self._total(), has_device=has_device)
        yield table
        if event.seconds_per_step_before is not None:
            before = event.seconds_per_step_before
            yield Text(f"without the profiler a step took {_milliseconds(before)} ms (median of those before)")

    def _total(self) -> SectionTime:
        device = [section.device_seconds for section in self.event.sections if section.device_seconds is not None]
        return SectionTime(
            name=f"all {plural(self.event.steps, 'step')}",
            times=None,
            seconds=self.event.seconds,
            device_seconds=sum(device) if device else None,
        )

    def _add_row(self, table: Table, section: SectionTime, *, has_device: bool) -> None:
        event = self.event
        cells = [section.name.replace("_", " ")]
        if section.times == 0 and not section.device_seconds:
            cells += [NOTHING] * (3 if has_device else 2)
        else:
            cells += [_milliseconds(section.seconds / event.steps), format_percent(section.seconds / event.seconds)]
            if has_device:
                cells.append(_milliseconds((section.device_seconds or 0.0) / event.steps))
        table.add_row(*map(Text, cells))


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3f}" if seconds < 0.01 else f"{1e3 * seconds:.1f}"

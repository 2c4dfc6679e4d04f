"""A comparison on the screen: groups, what differs, metrics with intervals, what the tests say, how the validation went."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ...training.observers.screen.tables import format_metric, plural
from ...training.observers.screen.trend import sparkline
from .comparison import Comparison
from .curves import course_of
from .differences import Difference
from .words import format_estimate, name_of, notes_of, sentence_of, why_no_test

_GAP = 2
_LEAST_VALUE, _LEAST_NAME = 12, 28
"""Columns for a value of a group, and for the name of what differs."""
_MOST_BARS = 32


def show(comparison: Comparison, console: Console, *, all_metrics: bool) -> None:
    """Print a comparison, with the tests of the main metric, or of all."""
    for part in _parts(comparison, console.width, all_metrics=all_metrics):
        console.print(part)


def _parts(comparison: Comparison, width: int, *, all_metrics: bool) -> Iterator[RenderableType]:
    groups = comparison.groups
    count = plural(len(groups), "recipe") if len(groups) > 1 else "one recipe"
    yield Text(f"{count}, {plural(len(comparison.members), 'run')}", style="bold")
    yield _grid(
        ("", "runs", "state"),
        [
            (
                group.name,
                ", ".join(one.name for one in group.members),
                ", ".join(dict.fromkeys(one.state for one in group.members)),
            )
            for group in groups
        ],
    )
    for remark in comparison.remarks:
        yield Text(f"note: {remark}", style="yellow")
    yield Text()
    yield from _differences(comparison, width)
    yield from _metrics(comparison)
    yield from _by_unit(comparison, width)
    yield from _courses(comparison, width)
    main = comparison.metrics[0].name if comparison.metrics else ""
    shown = [test for test in comparison.tests if test.metric == main or all_metrics]
    lines = [*map(sentence_of, shown), *filter(None, [why_no_test(comparison)])]
    yield from map(Text, lines)
    for note in notes_of(shown):
        yield Text(note, style="dim")


def _differences(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    found = comparison.differences
    names = [group.name for group in comparison.groups]
    if not found:
        yield Text("nothing differs in recipe, plan, data and code" + (" but the seed" if len(names) == 1 else ""))
        yield Text()
        return
    if _LEAST_NAME + len(names) * (_LEAST_VALUE + _GAP) <= width:
        rows = [(one.section, one.name, *one.values) for one in _with_sections_once(found)]
        yield _grid(("what differs", "", *names), rows)
    else:
        for one in found:
            yield Text(f"{one.section} {one.name}")
            yield _grid(
                ("", ""), [(f"  {name}", value) for name, value in zip(names, one.values, strict=True)], bare=True
            )
    yield Text()


def _with_sections_once(found: Sequence[Difference]) -> Iterator[Difference]:
    before = ""
    for one in found:
        yield replace(one, section="" if one.section == before else one.section)
        before = one.section


def _metrics(comparison: Comparison) -> Iterator[RenderableType]:
    if not comparison.metrics:
        yield Text("no metrics yet")
        yield Text()
        return
    rows = []
    for metric in comparison.metrics:
        for place, (group, estimate) in enumerate(zip(comparison.groups, metric.estimates, strict=True)):
            mean, interval, over = format_estimate(metric.name, estimate)
            spread = "" if estimate is None or estimate.std is None else format_metric(metric.name, estimate.std)
            rows.append((name_of(metric.name) if place == 0 else "", group.name, mean, interval, spread, over))
    heads = ("metric", "of", "mean", "95 % interval", "deviation", "over")
    yield _grid(heads, rows, numbers=(2, 3, 4))
    yield Text()


def _by_unit(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    """Yield the main metric of each seed or fold, where there are several and they fit."""
    if not comparison.metrics:
        return
    metric = comparison.metrics[0]
    values = [{} if one is None else one.values for one in metric.estimates]
    units = list(dict.fromkeys(unit for of_group in values for unit in of_group))
    kinds = list(dict.fromkeys(group.unit for group in comparison.groups))
    if max(map(len, values)) < 2 or len(kinds) > 1:
        return
    rows = [
        (group.name, *(format_metric(metric.name, of_group.get(unit)) for unit in units))
        for group, of_group in zip(comparison.groups, values, strict=True)
    ]
    heads = (f"{name_of(metric.name)} by {kinds[0]}", *units)
    if sum(max(map(len, column)) + _GAP for column in zip(heads, *rows, strict=True)) <= width:
        yield _grid(heads, rows, numbers=range(1, len(heads)))
        yield Text()


def _courses(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    """Yield how the main metric went in the validation, on one scale."""
    if not comparison.metrics:
        return
    metric = comparison.metrics[0].name.partition("_")[2]
    courses = [course_of(group, metric) for group in comparison.groups]
    ends = [value for course in courses for value in course]
    if max(map(len, courses)) < 2:
        return
    bars = max(4, min(_MOST_BARS, width - 45))
    scale = (min(ends), max(ends))
    rows = [
        (
            group.name,
            sparkline(course, bars, scale),
            f"{format_metric(metric, course[0])} to {format_metric(metric, course[-1])}" if course else "",
        )
        for group, course in zip(comparison.groups, courses, strict=True)
    ]
    yield _grid((f"validation {name_of(metric)}", "by epoch", "first to last"), rows)
    yield Text()


def _grid(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[int] = (), bare: bool = False
) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim", show_header=not bare)
    for place, head in enumerate(heads):
        table.add_column(Text(head), justify="right" if place in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table

"""Curves of groups of runs over one another: the mean of the runs of each group, in a band from the least to the greatest."""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

from ...training.observers.screen.tables import metric_order
from ..common.values import counts, number
from ..report.curves import Chart, Point, Series
from .members import Group, Member, members_of

MOST_GROUPS = 8
"""That are drawn over one another."""
_MOST_POINTS = 240

_Read = Callable[[Member], Sequence[Point]]


def charts_of(groups: Sequence[Group]) -> list[Chart]:
    """Return the charts: what is monitored in the validation, its loss, that of the training, the rate, the other metrics.

    They go over the optimizer steps, or over the samples trained on where the samples of a step differ.
    """
    shown = groups[:MOST_GROUPS]
    by_samples = len({number(one.record, "recipe", "resolution", "global_batch_size") for one in members_of(shown)}) > 1
    names = dict.fromkeys(
        name for one in members_of(shown) for epoch in one.content.history.epochs for name in epoch.validation
    )
    order = metric_order(names, members_of(shown)[0].monitor)
    wanted: list[tuple[str, _Read]] = [
        (f"Validation: {name.replace('_', ' ')}", _of_epochs(name))
        for name in (order[:1] + order[-1:] if len(order) > 1 else order)
    ]
    wanted.append(("Training: loss", _of_steps("loss")))
    wanted += [(f"Validation: {name.replace('_', ' ')}", _of_epochs(name)) for name in order[1:-1]]
    wanted.append(("Learning rate", _of_steps("learning_rate")))
    places = {one.name: _places(one) if by_samples else None for one in members_of(shown)}
    charts = [_chart(title, shown, read, places) for title, read in wanted]
    return [chart for chart in charts if chart is not None]


def _chart(
    title: str, groups: Sequence[Group], read: _Read, places: Mapping[str, Callable[[float], float] | None]
) -> Chart | None:
    series = []
    for group in groups:
        found = [
            [(_moved(places[one.name], x), y) for x, y in points] for one in group.members if (points := read(one))
        ]
        if found:
            series.append(_series(group.name, found, is_marked="Validation" in title))
    x_name = "step" if next(iter(places.values())) is None else "samples"
    return Chart(title=title, series=series, from_zero=title == "Learning rate", x_name=x_name) if series else None


def _series(name: str, runs: Sequence[Sequence[Point]], *, is_marked: bool) -> Series:
    """Return the mean of the curves of runs where all of them have a point, in at most `_MOST_POINTS` points."""
    tables = [dict(points) for points in runs]
    common = sorted(set(tables[0]).intersection(*tables[1:])) or sorted(tables[0])
    rows = [[table[x] for table in tables if x in table] for x in common]
    size = -(-len(common) // _MOST_POINTS) or 1
    points, band = [], []
    for start in range(0, len(common), size):
        values = rows[start : start + size]
        x = common[min(start + size // 2, len(common) - 1)]
        points.append((x, statistics.fmean(value for row in values for value in row)))
        # Of the means over the group of points of each run: the spread of the runs, not that of the steps.
        means = [statistics.fmean(column) for column in zip(*values, strict=True)]
        band.append((x, min(means), max(means)))
    return Series(
        name=name, points=points, band=band if len(runs) > 1 else (), is_marked=is_marked and len(points) <= 60
    )


def _of_epochs(name: str) -> _Read:
    return lambda one: [
        (float(epoch.step), epoch.validation[name]) for epoch in one.content.history.epochs if name in epoch.validation
    ]


def _of_steps(name: str) -> _Read:
    return lambda one: [
        (float(step["step"]), value) for step in one.content.history.steps if (value := number(step, name)) is not None
    ]


def _places(member: Member) -> Callable[[float], float]:
    """Return a function from an optimizer step of a run to the samples that it had trained on after it."""
    steps = [float(step["step"]) for step in member.content.history.steps]
    trained = list(accumulate(sum(counts(step, "samples_per_rank")) for step in member.content.history.steps))
    return lambda step: float(trained[max(0, bisect_right(steps, step) - 1)]) if trained else step


def _moved(place: Callable[[float], float] | None, step: float) -> float:
    return step if place is None else place(step)


def course_of(group: Group, metric: str) -> tuple[float, ...]:
    """Return the values of a metric of the validation, epoch by epoch, as means of the runs of a group."""
    found = [points for one in group.members if (points := _of_epochs(metric)(one))]
    return tuple(y for _, y in _series(group.name, found, is_marked=False).points) if found else ()

"""Curves of a run, from the steps and epochs of its journal that led to its weights, in as many points as are seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...training.observers.journal import lineage
from ..common.values import counts, is_count, items, mapping, number, text

_MOST_POINTS = 240
"""Of a curve; more are put together, with the least and the greatest of each group."""
_MOST_WINDOWS = 120
_MOST_METRICS = 12

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Series:
    """A curve."""

    name: str
    points: Sequence[Point]
    """(optimizer step, value), by step."""
    band: Sequence[tuple[float, float, float]] = ()
    """(optimizer step, least, greatest) around the points that stand for several steps each."""
    is_marked: bool = False
    """Whether each point is marked, as where there are few."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Curves over the optimizer steps of a run."""

    title: str
    series: Sequence[Series]
    note: str = ""
    from_zero: bool = False
    x_name: str = "step"
    """What the x are: optimizer steps, `samples` that were trained on, or each `epoch`."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """An epoch that counts, as it ended."""

    number: int
    """Of the run, from 1."""
    stage: str
    step: int
    train_loss: float | None
    learning_rate: float | None
    seconds: float | None
    improved: bool
    validation: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class History:
    """What a journal tells of the course of a run."""

    steps: Sequence[Mapping[str, Any]]
    """The `step` events that count."""
    epochs: Sequence[Epoch]
    stages: Sequence[tuple[float, str]]
    """The step after which each stage begins, and its name."""
    windows: Sequence[tuple[float, float]] = ()
    """(optimizer step, samples per second) over some steps each, without validations."""
    train_seconds: float = 0.0
    """Of the steps that count or were computed again."""
    validation_seconds: float = 0.0
    data_wait_seconds: float = 0.0
    losses_not_finite: int = 0
    metric_names: Sequence[str] = field(default=())
    """Of the validation, without its loss, in the order in which they were found."""


def read_history(events: Sequence[Mapping[str, Any]], stage_names: Sequence[str]) -> History:
    """Return the course of a run from its journal."""
    valid = [event for event in events if _is_usable(event)]
    steps = lineage(valid)
    last = {int(step["epoch"]): step for step in steps}
    found: dict[int, Epoch] = {}
    names: dict[str, None] = {}
    for event in valid:
        if event["event"] == "epoch" and (step := last.get(int(event["epoch"]))) is not None:
            metrics = {
                str(name): value
                for name in mapping(event, "validation")
                if (value := number(event, "validation", name)) is not None
            }
            names |= dict.fromkeys(list(metrics)[:_MOST_METRICS])
            found[int(event["epoch"])] = Epoch(
                number=int(event["epoch"]) + 1,
                stage=_stage_name(event, stage_names),
                step=int(step["step"]),
                train_loss=number(event, "train_loss"),
                learning_rate=number(step, "learning_rate"),
                seconds=number(event, "seconds"),
                improved=event.get("improved") is True,
                validation=metrics,
            )
    stages: list[tuple[float, str]] = []
    for step in steps:
        name = _stage_name(step, stage_names)
        if not stages or stages[-1][1] != name:
            stages.append((step["step"] - 1, name))
    rates, training, validating = _times(valid)
    return History(
        steps=steps,
        epochs=[found[epoch] for epoch in sorted(found)],
        stages=stages,
        windows=rates,
        train_seconds=training,
        validation_seconds=validating,
        data_wait_seconds=sum(number(event, "data_wait_seconds") or 0 for event in valid if event["event"] == "epoch"),
        losses_not_finite=sum(number(step, "loss") is None for step in steps),
        metric_names=[name for name in names if name != "loss"],
    )


def charts_of(history: History) -> list[Chart]:
    """Return the charts of a run: loss, metrics of the validation, learning rate, gradient, rate, batch."""
    by_epoch = {
        name: [(float(one.step), one.validation[name]) for one in history.epochs if name in one.validation]
        for name in ("loss", *history.metric_names)
    }
    charts = [
        Chart(
            title="Loss",
            series=[
                _of_steps(history.steps, "loss", "training, each step"),
                Series(name="validation, each epoch", points=by_epoch["loss"], is_marked=True),
            ],
        )
    ]
    metrics = [
        Series(name=name.replace("_", " "), points=by_epoch[name], is_marked=True)
        for name in history.metric_names
        if by_epoch[name]
    ]
    shares = [one for one in metrics if all(0 <= value <= 1 for _, value in one.points)]
    charts += [Chart(title="Validation", series=shares[start : start + 4]) for start in range(0, len(shares), 4)]
    charts += [Chart(title=f"Validation: {one.name}", series=[one]) for one in metrics if one not in shares]
    charts.append(
        Chart(
            title="Learning rate", series=[_of_steps(history.steps, "learning_rate", "learning rate")], from_zero=True
        )
    )
    charts.append(
        Chart(
            title="Gradient norm", series=[_of_steps(history.steps, "gradient_norm", "before clipping")], from_zero=True
        )
    )
    return [kept for chart in charts if (kept := _with_points(chart)) is not None]


def charts_of_speed(history: History) -> list[Chart]:
    """Return the charts of how a run was computed: its rate, and the samples of a step and of a forward pass."""
    batch, passes = [], []
    for step in history.steps:
        shares = counts(step, "samples_per_rank")
        if shares:
            batch.append((float(step["step"]), float(sum(shares))))
            passes.append((batch[-1][0], float(-(-shares[0] // max(1, int(number(step, "micro_batches") or 1))))))
    charts = [
        Chart(
            title="Samples per second",
            series=[Series(name="over some steps each", points=history.windows)],
            from_zero=True,
        ),
        Chart(
            title="Samples",
            series=[
                Series(name="in a step", points=_highest(batch)),
                Series(name="in a forward pass", points=_highest(passes)),
            ],
            from_zero=True,
        ),
    ]
    return [kept for chart in charts if (kept := _with_points(chart)) is not None]


def _with_points(chart: Chart) -> Chart | None:
    kept = [one for one in chart.series if one.points]
    return replace(chart, series=kept) if kept else None


def _of_steps(steps: Sequence[Mapping[str, Any]], name: str, title: str) -> Series:
    """Return the curve of a field of the steps; many are the means of groups, in a band from the least to the greatest."""
    known = [(float(step["step"]), value) for step in steps if (value := number(step, name)) is not None]
    size = -(-len(known) // _MOST_POINTS) or 1
    if size == 1:
        return Series(name=title, points=known)
    points, band = [], []
    for start in range(0, len(known), size):
        group = known[start : start + size]
        values = [value for _, value in group]
        points.append((group[len(group) // 2][0], sum(values) / len(values)))
        band.append((points[-1][0], min(values), max(values)))
    is_wide = any(high - low > 0.02 * abs(high) for _, low, high in band)
    return Series(name=title, points=points, band=band if is_wide else ())


def _highest(points: Sequence[Point]) -> list[Point]:
    """Return the highest value of each group of steps: the last batch of an epoch may be short, which is no change."""
    size = -(-len(points) // _MOST_WINDOWS) or 1
    groups = (points[start : start + size] for start in range(0, len(points), size))
    return [(group[-1][0], max(value for _, value in group)) for group in groups]


def _times(events: Iterable[Mapping[str, Any]]) -> tuple[list[Point], float, float]:
    """Return the rate over windows of steps, and the seconds of all steps and of all validations."""
    spans: list[tuple[float, float, float]] = []
    before: float | None = None
    validating = 0.0
    for event in events:
        time = number(event, "time_seconds")
        if time is None or event["event"] not in ("run", "stage", "step", "epoch", "resume", "rewind"):
            continue
        if before is not None and time >= before:
            if event["event"] == "step":
                samples = sum(counts(event, "samples_per_rank"))
                spans.append((event["step"], samples, time - before))
            elif event["event"] == "epoch":
                validating += time - before
        before = None if event["event"] == "run" else time
    size = -(-len(spans) // _MOST_WINDOWS) or 1
    points = []
    for start in range(0, len(spans), size):
        group = spans[start : start + size]
        seconds = sum(seconds for _, _, seconds in group)
        if seconds > 0:
            points.append((group[-1][0], sum(samples for _, samples, _ in group) / seconds))
    points = [
        point for number_, point in enumerate(points) if number_ + 1 == len(points) or point[0] < points[number_ + 1][0]
    ]
    return points, sum(seconds for _, _, seconds in spans), validating


def _is_usable(event: Mapping[str, Any]) -> bool:
    needed = {"step": ("step", "epoch", "step_in_epoch"), "epoch": ("epoch",), "resume": ("step",), "rewind": ("step",)}
    name = event.get("event")
    if not isinstance(name, str):
        return False
    passed = [mapping({"one": one}, "one") for one in items(event, "passed_over")]
    return all(is_count(event.get(one)) for one in needed.get(name, ())) and all(
        {"epoch", "step_in_epoch"} <= set(one) for one in passed
    )


def _stage_name(event: Mapping[str, Any], names: Sequence[str]) -> str:
    stage = event.get("stage")
    if isinstance(stage, int) and 0 <= stage < len(names):
        return names[stage]
    return text(event, "stage")


def epoch_rows(history: History) -> Iterator[list[str | float | int | None]]:
    """Yield the table of the epochs: its head, then a row for each."""
    names = ["loss", *history.metric_names] if any(one.validation for one in history.epochs) else []
    yield [
        "epoch",
        "stage",
        "step",
        "train_loss",
        *(f"validation_{name}" for name in names),
        "learning_rate",
        "seconds",
    ]
    for one in history.epochs:
        values = (one.validation.get(name) for name in names)
        yield [one.number, one.stage, one.step, one.train_loss, *values, one.learning_rate, one.seconds]

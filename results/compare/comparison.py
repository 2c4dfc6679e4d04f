"""Metrics of groups of runs with their intervals, and what tests say of the differences from the first group."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...training.observers.screen.tables import metric_order, plural
from .differences import Difference, differences_of
from .members import Group, Member, groups_of, members_of
from .samples import count_of, losses_of, right_of
from .statistics import Found, holm, mcnemar, mean_interval, paired_t, share_interval, welch

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A metric of a group."""

    mean: float
    values: Mapping[str, float]
    """For each seed, fold or left-out value."""
    std: float | None
    """The standard deviation of the values, n - 1; None of one."""
    interval: Interval | None
    """95 %; None if nothing tells it."""
    over: str
    """What the interval is over: `3 seeds`, `468 samples`."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of all groups."""

    name: str
    """With its split: `test_accuracy`."""
    estimates: tuple[Estimate | None, ...]
    """One for each group; None: its runs do not have it."""


@dataclass(frozen=True, kw_only=True)
class Test:
    """What a test found for a metric of a group, beside the first group."""

    metric: str
    reference: str
    other: str
    kind: str
    """`paired_t`, `welch_t`, `mcnemar` or `paired_t_of_samples`."""
    found: Found
    """Other minus reference."""
    pairs: int
    """Of runs or samples; of `welch_t` the runs of both."""
    unit: str
    """What the pairs are of: `seed`, `fold`, `signer`, `sample`."""
    only_reference: int | None = None
    """Of `mcnemar`: the samples that only the reference answers rightly."""
    only_other: int | None = None
    p_adjusted: float | None = None
    """By Holm, where several groups are compared with the first."""
    shares_training: bool = False
    """Whether the pairs share training samples, as folds do, and the test allows for it."""

    @property
    def p(self) -> float:
        """The p value to judge by."""
        return self.found.p if self.p_adjusted is None else self.p_adjusted


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that is shown of several runs."""

    groups: tuple[Group, ...]
    """The first is what the others are compared with."""
    differences: tuple[Difference, ...]
    metrics: tuple[Metric, ...]
    """The main one first."""
    tests: tuple[Test, ...]
    remarks: tuple[str, ...]
    """What a reader has to know before trusting the numbers."""

    @property
    def members(self) -> list[Member]:
        """The runs, group by group."""
        return members_of(self.groups)


def compare(members: Sequence[Member], remarks: Sequence[str] = ()) -> Comparison:
    """Return what differs between runs, their metrics, and what tests say."""
    groups = tuple(groups_of(members))
    told = list(remarks)
    metrics = _metrics(groups, told)
    _remark_on_samples(groups, told)
    tests = [test for metric in metrics for test in _tests(groups, metric.name)]
    if len(groups) == 1:
        told.append(
            f"all runs have the same recipe, so they are one group of {plural(len(members), 'run')}: there is no difference to "
            "test; give runs of another recipe too"
        )
    return Comparison(
        groups=groups,
        differences=tuple(differences_of(groups)),
        metrics=tuple(metrics),
        tests=tuple(_adjusted(tests)),
        remarks=tuple(told),
    )


def _metrics(groups: Sequence[Group], remarks: list[str]) -> list[Metric]:
    """Return the metrics of the test, or of the validation where not all runs were tested."""
    members = members_of(groups)
    without = [member for member in members if not any(name.startswith("test_") for name in member.metrics)]
    split = "validation" if without else "test"
    if without and len(without) < len(members):
        remarks.append(
            f"{_listed(without)} {'is' if len(without) == 1 else 'are'} not tested: all numbers are of the validation, which "
            "chose the best weights, so they are rather too good"
        )
    elif without:
        remarks.append("no run is tested: numbers are of the validation, which chose the best weights: rather too good")
    unfinished = [member for member in members if member.state != "finished"]
    if unfinished:
        remarks.append(f"not finished: {_listed(unfinished)}; what stands here is its best epoch so far")
    found = dict.fromkeys(name for one in members for name in one.metrics if name.startswith(f"{split}_"))
    plain = metric_order((name.removeprefix(f"{split}_") for name in found), members[0].monitor)
    metrics = [
        Metric(name=f"{split}_{name}", estimates=tuple(_estimate(group, f"{split}_{name}") for group in groups))
        for name in plain
    ]
    return [metric for metric in metrics if any(one is not None for one in metric.estimates)]


def _estimate(group: Group, name: str) -> Estimate | None:
    values = group.values(name)
    if not values:
        return None
    numbers = list(values.values())
    mean, count = statistics.fmean(numbers), len(numbers)
    interval, over = mean_interval(numbers), plural(count, group.unit)
    if interval is None and "accuracy" in name:
        samples = count_of(group.members[0].content.answers, name.split("_")[0])
        if samples and len(group.members) == 1:
            interval, over = share_interval(mean, samples), plural(samples, "sample")
    return Estimate(
        mean=mean,
        values={str(unit): value for unit, value in values.items()},
        std=statistics.stdev(numbers) if count > 1 else None,
        interval=None if interval is None else _possible(name, interval),
        over=over,
    )


def _tests(groups: Sequence[Group], metric: str) -> list[Test]:
    """Return what the tests say of a metric of each group beside the first."""
    found = []
    for other in groups[1:]:
        if (test := _over_runs(groups[0], other, metric)) is not None:
            found.append(test)
        if (test := _over_samples(groups[0], other, metric)) is not None:
            found.append(test)
    return found


def _over_runs(first: Group, second: Group, metric: str) -> Test | None:
    """Return the test over seeds, folds or left-out values: paired where both have the same ones."""
    ours, theirs = first.values(metric), second.values(metric)
    common: list[Hashable] = [unit for unit in ours if unit in theirs] if first.unit == second.unit else []
    names: dict[str, Any] = {"metric": metric, "reference": first.name, "other": second.name}
    if len(common) > 1:
        is_fold = first.unit == "fold"
        shared = 1 / (len(common) - 1) if is_fold else 0.0
        result = paired_t([theirs[unit] - ours[unit] for unit in common], shared)
        if result is None:
            return None
        return Test(**names, kind="paired_t", found=result, pairs=len(common), unit=first.unit, shares_training=is_fold)
    result = welch(list(ours.values()), list(theirs.values()))
    if result is None or first.unit != "seed" or second.unit != "seed":  # others are not independent of one another
        return None
    return Test(**names, kind="welch_t", found=result, pairs=len(ours) + len(theirs), unit="run")


def _over_samples(first: Group, second: Group, metric: str) -> Test | None:
    """Return the test over the same samples, where both groups were measured on them."""
    split, _, name = metric.partition("_")
    read = {"accuracy": right_of, "loss": losses_of}.get(name)
    members = [*first.members, *second.members]
    if read is None or {len(group.values(metric)) for group in (first, second)} == {0}:
        return None
    if len({member.samples for member in members}) != 1 or not members[0].samples:
        return None
    kept = [read(member.content.answers, split) for member in members]
    rows = [row for row in kept if row is not None]
    if len(rows) < len(members) or len({len(row) for row in rows}) != 1 or len(rows[0]) < 2:
        return None
    ours, theirs = rows[: len(first.members)], rows[len(first.members) :]
    count = len(rows[0])
    names: dict[str, Any] = {"metric": metric, "reference": first.name, "other": second.name}
    names |= {"pairs": count, "unit": "sample"}
    if name == "accuracy" and len(ours) == len(theirs) == 1:
        pairs = list(zip(ours[0], theirs[0], strict=True))
        only_first, only_second = sum(a > b for a, b in pairs), sum(b > a for a, b in pairs)
        return Test(
            **names,
            kind="mcnemar",
            found=mcnemar(only_first, only_second, count),
            only_reference=only_first,
            only_other=only_second,
        )
    means = [[statistics.fmean(column) for column in zip(*part, strict=True)] for part in (ours, theirs)]
    result = paired_t([b - a for a, b in zip(*means, strict=True)])
    return None if result is None else Test(**names, kind="paired_t_of_samples", found=result)


def _adjusted(tests: Sequence[Test]) -> list[Test]:
    """Return tests with the p values of those of one metric and one kind adjusted, where there are several."""
    found = list(tests)
    for key in dict.fromkeys((test.metric, test.unit == "sample") for test in tests):
        places = [place for place, test in enumerate(tests) if (test.metric, test.unit == "sample") == key]
        if len(places) > 1:
            for place, p in zip(places, holm([tests[one].found.p for one in places]), strict=True):
                found[place] = replace(tests[place], p_adjusted=p)
    return found


def _remark_on_samples(groups: Sequence[Group], remarks: list[str]) -> None:
    """Tell where numbers are of different samples, so that they compare the samples too."""
    tables = [{(group.unit_of(one), str(one.seed)): one.samples for one in group.members} for group in groups]
    common = set(tables[0]).intersection(*tables[1:])
    per_group = [set(table.values()) for table in tables]
    differs = (
        any(len({table[unit] for table in tables}) > 1 for unit in common)
        if common
        else len(set().union(*per_group)) > 1
    )
    if len(groups) > 1 and differs:
        remarks.append(
            "the runs were not measured on the same samples: their data or splits differ, so a difference of a metric may be "
            "one of the samples"
        )


def _is_share(name: str) -> bool:
    return "accuracy" in name or "f1" in name


def _possible(name: str, interval: Interval) -> Interval:
    """Return an interval without the values that a metric cannot have."""
    return (max(interval[0], 0.0), min(interval[1], 1.0)) if _is_share(name) else interval


def _listed(members: Sequence[Member], most: int = 4) -> str:
    names = ", ".join(member.name for member in members[:most])
    return names if len(members) <= most else f"{names} and {len(members) - most} more"

"""Measures of class probabilities against the right classes: accuracy, F1, loss, calibration, each with an interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...training.tasks.classification import TOP

RESAMPLES, LEVEL = 2000, 0.95
BINS = 15
"""Of the calibration error, as in Guo et al., "On Calibration of Modern Neural Networks" (2017)."""
_RESAMPLES_OF_FUNCTIONS = 300
_AT_ONCE = 1 << 22
"""Counts of units in resamples that are held at once."""
FEW_UNITS = 10
"""Groups below which an interval over them is a rough one."""

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """What was found for one class."""

    name: str
    samples: int
    precision: float | None
    """Of the samples that were said to be of it, the share that are; None: none was."""
    recall: float
    f1: float


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Metrics by name with their intervals, and a row for each class that has samples."""

    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    """Of the metrics, 95 %."""
    unit: str
    """What was drawn anew for the intervals: signer, recording, sample."""
    units: int
    classes: tuple[ClassRow, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    """Counts [right class, predicted class]."""


def measure_classes(
    probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> Measures:
    """Return the measures of class probabilities, [samples, classes], with `labels` int64 [samples].

    All metrics are ratios of sums over samples, so that of a resample is computed from the sums over its groups. Intervals are
    the percentiles of the bootstrap (Efron, 1979) over groups of samples that belong together, as in Field and Welsh,
    "Bootstrapping clustered data" (2007): over signers where there are several, else another kind of group, else samples.
    """
    unit, numbers = _units(groups, len(labels))
    sums = _sums(probabilities, labels)
    per_unit = np.zeros((numbers.max() + 1, sums.shape[1]))
    np.add.at(per_unit, numbers, sums)
    size = len(class_names)
    point = _metrics(per_unit.sum(axis=0)[None], size)
    drawn = [_metrics(counts @ per_unit, size) for counts in _resamples(len(per_unit), RESAMPLES)]
    intervals = {name: _interval(np.concatenate([part[name] for part in drawn])) for name in point}
    predicted = probabilities.argmax(axis=1)
    matrix = np.bincount(labels * size + predicted, minlength=size * size).reshape(size, size)
    return Measures(
        metrics={name: float(value[0]) for name, value in point.items()},
        intervals=intervals,
        unit=unit,
        units=len(per_unit),
        classes=tuple(_class_row(name, matrix, index) for index, name in enumerate(class_names) if matrix[index].any()),
        confusion_matrix=tuple(map(tuple, matrix.tolist())),
    )


def intervals_of(metrics: Callable[[np.ndarray], Mapping[str, Any]], rows: np.ndarray) -> dict[str, Interval]:
    """Return the intervals of a task's own metrics, functions of the rows of all samples, by drawing samples anew."""
    found: dict[str, list[float]] = {}
    generator = np.random.default_rng(0)
    for _ in range(_RESAMPLES_OF_FUNCTIONS if len(rows) > 1 else 0):
        for name, value in metrics(rows[generator.integers(0, len(rows), len(rows))]).items():
            if isinstance(value, (int, float)):
                found.setdefault(name, []).append(float(value))
    return {name: _interval(np.array(values)) for name, values in found.items()}


def _units(groups: Mapping[str, Sequence[str]], count: int) -> tuple[str, np.ndarray]:
    """Return the kind of what belongs together, and its number for each sample; a sample of no group is one of its own."""
    for kind in sorted(groups, key=lambda kind: (kind != "signer", kind)):
        named = np.array([name or f"\0{number}" for number, name in enumerate(groups[kind])], dtype=np.str_)
        _, numbers = np.unique(named, return_inverse=True)
        known = {name for name in groups[kind] if name}
        if len(known) > 1 and len(known) < count:
            return kind, numbers
    return "sample", np.arange(count)


def _resamples(units: int, count: int) -> list[np.ndarray]:
    """Return how often each unit stands in each resample, float [some, units], in parts of limited size."""
    generator, most = np.random.default_rng(0), max(1, _AT_ONCE // units)
    return [
        generator.multinomial(units, np.full(units, 1 / units), size=min(most, count - start)).astype(np.float64)
        for start in range(0, count, most)
    ]


def _sums(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return what is added over samples, [samples, 4 + 3 classes + 2 bins]."""
    count, size = probabilities.shape
    each = np.arange(count)
    of_right, predicted, confidence = (
        probabilities[each, labels],
        probabilities.argmax(axis=1),
        probabilities.max(axis=1),
    )
    right = (predicted == labels).astype(np.float64)
    in_top = (probabilities > of_right[:, None]).sum(axis=1) < TOP
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    sums = np.zeros((count, 4 + 3 * size + BINS))
    sums[:, 0], sums[:, 1], sums[:, 3] = 1.0, right, in_top
    sums[:, 2] = -np.log(np.maximum(of_right, np.finfo(np.float64).tiny))
    sums[each, 4 + labels] = right
    sums[each, 4 + size + labels] = 1.0
    sums[each, 4 + 2 * size + predicted] = 1.0
    sums[each, 4 + 3 * size + place] = confidence - right
    return sums


def _metrics(sums: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """Return the metrics of sums, [resamples, columns] of `_sums`.

    The expected calibration error is the sum over bins of confidence of |accuracy - mean confidence| x share of samples
    (Guo et al., 2017, after Naeini et al., 2015), which is |sum of (confidence - right)| / samples in each bin.
    """
    count = sums[:, 0]
    right, samples, predictions = (sums[:, 4 + place * size : 4 + (place + 1) * size] for place in range(3))
    f1 = np.divide(2 * right, samples + predictions, out=np.zeros_like(right), where=samples > 0)
    found = {
        "loss": sums[:, 2] / count,
        "accuracy": sums[:, 1] / count,
        "top5_accuracy": sums[:, 3] / count,
        "macro_f1": f1.sum(axis=1) / (samples > 0).sum(axis=1),
        "calibration_error": np.abs(sums[:, 4 + 3 * size :]).sum(axis=1) / count,
    }
    if size <= TOP:
        del found["top5_accuracy"]
    return found


def _interval(values: np.ndarray) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _class_row(name: str, matrix: np.ndarray, index: int) -> ClassRow:
    right, samples, said = int(matrix[index, index]), int(matrix[index].sum()), int(matrix[:, index].sum())
    return ClassRow(
        name=name,
        samples=samples,
        precision=right / said if said else None,
        recall=right / samples,
        f1=2 * right / (samples + said),
    )

"""The result of a study: mean, standard deviation and interval over its runs, and the worst one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

CONFIDENCE = 0.95


def summarise(rows: Sequence[Mapping[str, Any]], monitor: str, left_out: str = "value") -> dict[str, Any]:
    """Return the result of a study from the rows of its runs: numbers over the runs, the worst one, and the rows.

    For every test metric that all runs have, `mean_`, `std_` (of a sample, n - 1) and `interval_`: the 95 % confidence
    interval of the mean by Student's t (NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.2). Where each test has
    several seeds, the values are their means: the seeds of one test are not independent tests. `monitor` names the metric
    of the worst run where there is no accuracy, `left_out` what was left out, such as signer.
    """
    result: dict[str, Any] = {}
    metrics = [name for name in rows[0] if name.startswith("test_") and all(_is_number(row.get(name)) for row in rows)]
    groups, unit = _groups(rows)
    for name in metrics:
        values = [statistics.fmean(row[name] for row in group) for group in groups]
        result[f"mean_{name}"] = mean = statistics.fmean(values)
        result[f"std_{name}"] = result[f"interval_{name}"] = None
        if len(values) > 1:
            result[f"std_{name}"] = std = statistics.stdev(values)
            half = student_t(CONFIDENCE, len(values) - 1) * std / math.sqrt(len(values))
            result[f"interval_{name}"] = _possible(name, mean - half, mean + half)
    result["over"] = f"{len(groups)} {unit or left_out}{'s' if len(groups) > 1 else ''}"
    result["worst"] = _worst(rows, metrics, monitor)
    result["steps"] = sum(row["steps"] for row in rows)
    result["seconds"] = round(sum(row["seconds"] for row in rows), 3)
    result["runs"] = list(rows)
    return result


def _groups(rows: Sequence[Mapping[str, Any]]) -> tuple[list[list[Mapping[str, Any]]], str]:
    """Return the rows of each independent value, and what such a value is of; nothing for what was left out."""
    options = rows[0]["options"]
    if len(options) == 1:
        return [[row] for row in rows], {"held_out": ""}.get(next(iter(options)), next(iter(options)))
    # A seed makes other folds: each seed is a complete cross-validation. A left-out value is the same in each.
    by, unit = ("seed", "cross-validation") if "fold" in options else ("held_out", "")
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["options"][by], []).append(row)
    return list(groups.values()), unit


def _worst(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], monitor: str) -> dict[str, Any] | None:
    metric = next((name for name in ("test_accuracy", f"test_{monitor}", "test_loss") if name in metrics), None)
    if metric is None:
        return None
    worst = (max if metric == "test_loss" else min)(rows, key=lambda row: row[metric])
    return {"name": worst["name"], "metric": metric, "value": worst[metric]}


def _possible(metric: str, low: float, high: float) -> list[float]:
    """Return an interval without the values that a metric cannot have; it holds the true mean as often as before."""
    is_share = "accuracy" in metric or "f1" in metric
    return [max(low, 0.0), min(high, 1.0)] if is_share else [low, high]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def student_t(confidence: float, degrees: int) -> float:
    """Return the half width of the two-sided interval of Student's t with so many degrees of freedom, by bisection."""
    low, high = 0.0, 1.0
    while _share_within(high, degrees) < confidence:
        high *= 2.0
    for _ in range(100):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _share_within(middle, degrees) < confidence else (low, middle)
    return high


def _share_within(t: float, degrees: int) -> float:
    """Return P(|T| <= t), by the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan2(t, math.sqrt(degrees))
    cosine, sine = math.cos(angle), math.sin(angle)
    if degrees % 2:
        term, total = cosine, 0.0
        for k in range(1, degrees - 1, 2):
            total += term
            term *= cosine * cosine * (k + 1) / (k + 2)
        return 2.0 / math.pi * (angle + sine * total)
    term, total = 1.0, 0.0
    for k in range(0, degrees, 2):
        total += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    return sine * total

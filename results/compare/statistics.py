"""Intervals and tests for metrics of two recipes, each with the source of its formula. Plain numbers in, plain numbers out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
_Z = 1.959963984540054
"""Of the normal distribution, within which 95 % lie."""
_MOST_TERMS, _TINY = 20_000, 1e-300


@dataclass(frozen=True, kw_only=True)
class Found:
    """A difference, second minus first."""

    difference: float
    interval: tuple[float, float]
    """95 %, of the true difference."""
    p: float
    """How often a difference at least as large would be seen if there were none in truth."""


def paired_t(differences: Sequence[float], shared: float = 0.0) -> Found | None:
    """Return what Student's t test finds for the mean of differences of pairs; None for less than two, or if all are the same.

    t = mean / (s sqrt(1/n + shared)), n - 1 degrees of freedom: NIST/SEMATECH e-Handbook of Statistical Methods, 7.3.1.1.
    `shared` is 0 for independent pairs, and test / training samples where pairs share training samples, as folds do: Nadeau
    and Bengio, "Inference for the Generalization Error" (2003).
    """
    count = len(differences)
    if count < 2:
        return None
    mean, spread = statistics.fmean(differences), statistics.stdev(differences)
    if spread <= 1e-12 * max(map(abs, differences)):
        return None
    return _found(mean, spread * math.sqrt(1 / count + shared), count - 1)


def welch(first: Sequence[float], second: Sequence[float]) -> Found | None:
    """Return what Welch's t test finds for the means of two independent groups; None for less than two values or no spread.

    Degrees of freedom by Welch and Satterthwaite: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.3.
    """
    if min(len(first), len(second)) < 2:
        return None
    parts = [statistics.variance(values) / len(values) for values in (first, second)]
    total = sum(parts)
    if total <= 1e-24 * max(abs(value) for value in (*first, *second)) ** 2:
        return None
    degrees = total**2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True))
    return _found(statistics.fmean(second) - statistics.fmean(first), math.sqrt(total), degrees)


def mcnemar(only_first: int, only_second: int, samples: int) -> Found:
    """Return what McNemar's exact test finds for two classifiers on the same samples.

    The arguments count the samples that only one of the two answers rightly, and all. p is that of the binomial distribution
    with 1/2: McNemar, "Note on the sampling error of the difference between correlated proportions" (1947). The interval is
    that of Agresti and Min, "Simple improved confidence intervals for comparing matched proportions" (2005).
    """
    both = only_first + only_second
    least = min(only_first, only_second)
    # P(X <= k) of n tosses is I(1/2; n - k, k + 1).
    p = min(1.0, 2 * incomplete_beta(both - least, least + 1, 0.5)) if both else 1.0
    total, one, other = samples + 2, only_first + 0.5, only_second + 0.5
    middle = (other - one) / total
    half = _Z * math.sqrt(max(0.0, one + other - (other - one) ** 2 / total)) / total
    interval = (max(-1.0, middle - half), min(1.0, middle + half))
    return Found(difference=(only_second - only_first) / samples, interval=interval, p=p)


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean by Student's t, NIST/SEMATECH e-Handbook, 1.3.5.2; None for less than two values."""
    if len(values) < 2:
        return None
    half = t_within(CONFIDENCE, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def share_interval(share: float, samples: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of independent samples: Wilson, "Probable inference" (1927)."""
    factor = 1 + _Z**2 / samples
    middle = (share + _Z**2 / (2 * samples)) / factor
    half = _Z * math.sqrt(share * (1 - share) / samples + _Z**2 / (4 * samples**2)) / factor
    return max(0.0, middle - half), min(1.0, middle + half)


def holm(values: Sequence[float]) -> list[float]:
    """Return p values of several tests such that the chance of any false finding stays below each: Holm (1979)."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = highest
    return adjusted


def t_beyond(t: float, degrees: float) -> float:
    """Return P(|T| >= t) of Student's t: Abramowitz and Stegun, 26.7.1 and 26.5.27."""
    return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def t_within(confidence: float, degrees: float) -> float:
    """Return the t within which a share of Student's distribution lies, by bisection."""
    low, high = 0.0, 1.0
    while t_beyond(high, degrees) > 1 - confidence:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if t_beyond(middle, degrees) > 1 - confidence else (low, middle)
    return high


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function I(x; a, b), by the continued fraction of DLMF 8.17.22."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    value = c = 1.0
    d = 0.0
    for step in range(1, _MOST_TERMS):  # evaluated from the left, by the method of Lentz, Thompson and Barnett (1986)
        half, below = step // 2, (a + step - 1) * (a + step)
        part = (-(a + half) * (a + b + half) if step % 2 else half * (b - half)) * x / below
        c, d = 1 + part / c or _TINY, 1 / (1 + part * d or _TINY)
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front / (a * value)


def _found(difference: float, error: float, degrees: float) -> Found:
    half = t_within(CONFIDENCE, degrees) * error
    return Found(
        difference=difference,
        interval=(difference - half, difference + half),
        p=t_beyond(abs(difference) / error, degrees),
    )

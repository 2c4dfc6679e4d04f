"""A trend keeps the course of a number in constant memory."""

from __future__ import annotations

import pytest

from slipway.training.observers.screen.trend import Trend, sparkline


def test_the_means_are_of_equal_parts_of_all_that_was_added() -> None:
    trend = Trend()
    values = [float(number) for number in range(1000)]
    for value in values:
        trend.add(value)
        trend.add(float("nan"))
    means = trend.means
    assert 16 < len(means) <= 32
    assert means[0] == pytest.approx(sum(values[:32]) / 32)
    assert list(means) == sorted(means)


def test_a_sparkline_goes_from_the_least_to_the_most_and_fits() -> None:
    assert sparkline((4.0, 2.0, 1.0), 8) == "█▃▁"
    assert sparkline((1.0, 1.0), 8) == "▁▁"
    assert len(sparkline(tuple(map(float, range(32))), 10)) <= 10
    assert sparkline((), 10) == sparkline((1.0,), 0) == ""

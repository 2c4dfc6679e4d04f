"""The tests and intervals of a comparison agree with SciPy, or with numbers that SciPy gave."""

from __future__ import annotations

import math

import pytest

from slipway.results.compare.statistics import (
    holm,
    incomplete_beta,
    mcnemar,
    mean_interval,
    paired_t,
    share_interval,
    t_beyond,
    t_within,
    welch,
)
from slipway.training.run.study.statistics import student_t

FIRST, SECOND = [0.861, 0.872, 0.874, 0.85], [0.80, 0.83, 0.81, 0.79]


def test_the_tails_of_students_t_are_those_of_tables() -> None:
    for t, degrees, p in (
        (12.706, 1, 0.05),
        (4.303, 2, 0.05),
        (2.228, 10, 0.05),
        (3.169, 10, 0.01),
        (1.962, 1000, 0.05),
    ):
        assert t_beyond(t, degrees) == pytest.approx(p, rel=2e-3)
    for degrees in (1, 2, 3, 9, 40):
        assert t_within(0.95, degrees) == pytest.approx(student_t(0.95, degrees), rel=1e-9)


def test_paired_and_unpaired_t_are_those_of_scipy() -> None:
    # scipy.stats.ttest_rel(SECOND, FIRST), ttest_ind(SECOND, FIRST, equal_var=False)
    paired = paired_t([b - a for a, b in zip(FIRST, SECOND, strict=True)])
    assert paired is not None
    assert paired.difference == pytest.approx(-0.05675)
    unpaired = welch(FIRST, SECOND)
    assert unpaired is not None
    stats = pytest.importorskip("scipy.stats")
    for ours, theirs in (
        (paired, stats.ttest_rel(SECOND, FIRST)),
        (unpaired, stats.ttest_ind(SECOND, FIRST, equal_var=False)),
    ):
        assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9)
        assert ours.interval == pytest.approx(tuple(theirs.confidence_interval(0.95)), rel=1e-9)


def test_folds_that_share_training_samples_widen_the_interval() -> None:
    differences = [0.01, 0.03, 0.02, 0.04, 0.02]
    plain, corrected = paired_t(differences), paired_t(differences, shared=1 / 4)
    assert plain is not None
    assert corrected is not None
    width = [one.interval[1] - one.interval[0] for one in (plain, corrected)]
    assert width[1] / width[0] == pytest.approx(math.sqrt((1 / 5 + 1 / 4) / (1 / 5)))
    assert corrected.p > plain.p


def test_mcnemar_is_the_exact_test_of_the_samples_on_which_the_two_differ() -> None:
    found = mcnemar(9, 21, 468)
    assert found.difference == pytest.approx(12 / 468)
    assert found.p == pytest.approx(2 * sum(math.comb(30, k) for k in range(10)) / 2**30, rel=1e-9)
    assert found.interval[0] < found.difference < found.interval[1]
    assert mcnemar(0, 0, 10).p == mcnemar(5, 5, 10).p == 1.0
    assert mcnemar(0, 6, 100).p == pytest.approx(2 / 2**6)
    assert mcnemar(400_000, 402_000, 1_000_000).p == pytest.approx(0.0255, abs=2e-4)


def test_what_has_no_spread_is_not_tested() -> None:
    assert paired_t([0.1]) is None
    assert paired_t([0.1, 0.1, 0.1]) is None
    assert paired_t([0.0, 0.0]) is None
    assert welch([0.5], [0.4, 0.6]) is None
    assert welch([0.5, 0.5], [0.5, 0.5]) is None


def test_intervals_and_adjusted_p_values_are_those_of_their_sources() -> None:
    assert mean_interval([0.5]) is None
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))
    assert share_interval(0.9, 100) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert share_interval(0.0, 10)[0] == 0.0
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert incomplete_beta(2.0, 3.0, 0.5) == pytest.approx(0.6875)

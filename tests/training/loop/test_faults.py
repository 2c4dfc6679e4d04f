"""Bad numbers: which batches are passed over, from the losses alone."""

from __future__ import annotations

import math
import random

import pytest

from slipway.training.loop.faults import FaultDetector, Position


def observe(detector: FaultDetector, losses: list[float], start: int = 0, **options: bool) -> list[list[Position]]:
    """Return what a detector says of each loss; one that is not finite is not is_finite."""
    return [
        detector.observe(Position(0, start + step), loss, is_finite=math.isfinite(loss), **options)
        for step, loss in enumerate(losses)
    ]


def at(*steps: int) -> list[Position]:
    return [Position(0, step) for step in steps]


@pytest.mark.parametrize("patience", [1, 3])
def test_so_many_bad_steps_in_a_row_are_passed_over_and_a_good_one_between_forgives(patience: int) -> None:
    detector = FaultDetector(patience=patience, spike_score=None)
    bad = [math.nan, math.inf, -math.inf][:patience]
    forgiven = [*bad[1:], 1.0] * 4
    assert observe(detector, forgiven) == [[]] * len(forgiven)
    told = observe(detector, bad, start=100)
    assert told[:-1] == [[]] * (patience - 1)
    assert told[-1] == at(*range(100, 100 + patience))


def test_after_going_back_the_count_starts_afresh() -> None:
    detector = FaultDetector(patience=2, spike_score=None)
    assert observe(detector, [math.nan, math.nan])[-1] == at(0, 1)
    detector.forget()
    assert observe(detector, [math.nan, 1.0, math.nan]) == [[], [], []]


def test_a_spike_is_one_step_far_above_its_recent_losses() -> None:
    random.seed(3)
    usual = [2.0 + random.gauss(0, 0.1) for _ in range(200)]
    detector = FaultDetector(patience=5, spike_score=8.0)
    assert observe(detector, usual) == [[]] * 200
    assert observe(detector, [2.4, 1.0, 3.5, 3.5], start=200) == [[], [], at(202), at(203)]
    # A spike does not make the next one usual; without a score nothing is a spike.
    assert max(detector.losses) < 3
    relaxed = FaultDetector(patience=5, spike_score=None)
    assert observe(relaxed, [*usual, 1e9]) == [[]] * 201
    assert relaxed.losses == []


def test_too_few_losses_make_no_spike_and_equal_ones_none_of_a_rounding_error() -> None:
    detector = FaultDetector(patience=5, spike_score=3.0)
    assert observe(detector, [1.0] * 19 + [50.0]) == [[]] * 20
    detector.forget([0.7] * 30)
    assert observe(detector, [0.7 + 1e-9, 0.7001]) == [[], []]
    assert observe(detector, [0.8]) == [at(0)]


def test_losses_are_taken_over_from_a_checkpoint() -> None:
    one = FaultDetector(patience=5, spike_score=6.0)
    observe(one, [1.0 + 0.01 * (step % 7) for step in range(300)])
    other = FaultDetector(patience=5, spike_score=6.0)
    other.forget(one.losses)
    later = [1.02, 1.5, 1.03, 1.1]
    assert observe(one, later) == observe(other, later)
    assert at(1) in observe(other, later)


def test_an_overflow_of_the_loss_scale_is_no_fault_unless_it_never_ends() -> None:
    detector = FaultDetector(patience=2, spike_score=None)

    def overflow(count: int, start: int) -> list[list[Position]]:
        return [
            detector.observe(Position(0, start + step), 1.0, is_finite=False, is_overflow=True) for step in range(count)
        ]

    assert overflow(30, 0) == [[]] * 30
    detector.observe(Position(0, 30), 1.0, is_finite=True)
    assert overflow(31, 31) == [[]] * 31
    assert overflow(1, 62) == [at(61, 62)]

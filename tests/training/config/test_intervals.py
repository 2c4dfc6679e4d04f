"""How often something is done, as a person writes it, and when it is due."""

from __future__ import annotations

import pytest

from slipway.training.config.intervals import Interval, IntervalClock
from tests.training.helpers import catch


@pytest.mark.parametrize(
    ("text", "count", "unit"),
    [
        ("10min", 600.0, "second"),
        ("500step", 500.0, "step"),
        ("1epoch", 1.0, "epoch"),
        ("30s", 30.0, "second"),
        ("90 seconds", 90.0, "second"),
        ("1.5h", 5400.0, "second"),
        ("2 Hours", 7200.0, "second"),
        (" 10 minutes ", 600.0, "second"),
        ("1 steps", 1.0, "step"),
        ("0.5epoch", 0.5, "epoch"),
        ("3epochs", 3.0, "epoch"),
    ],
)
def test_an_interval_is_read_as_it_is_meant(text: str, count: float, unit: str) -> None:
    interval = Interval.parse(text, "save_every")
    assert interval is not None
    assert (interval.count, interval.unit) == (count, unit)


@pytest.mark.parametrize("text", ["never", "NEVER", " never "])
def test_never_is_no_interval(text: str) -> None:
    assert Interval.parse(text, "save_every") is None


COUNTS = [
    "",
    "0min",
    "0.0step",
    "-5min",
    "1e3step",
    "nans",
    "infs",
    "1,5h",
    "½h",
    "\N{ARABIC-INDIC DIGIT ONE}min",
    "min",
]
UNITS = ["10", "10parsecs", "10mi", "10ss", "10hs", "5min3s", "10min\n5", "ten minutes"]


@pytest.mark.parametrize("text", [*COUNTS, *UNITS])
def test_nonsense_is_refused_with_what_would_do(text: str) -> None:
    error = str(catch(Interval.parse, text, "save_every"))
    assert error == f"--save-every: {text!r} is not an interval; give one such as 10min, 500step, 1epoch, or never"
    assert "\n" not in error


@pytest.mark.parametrize("text", ["2.5step", "9" * 400 + "step"])
def test_half_a_step_is_refused(text: str) -> None:
    assert "is not a whole number of steps" in str(catch(Interval.parse, text, "save_every"))


def due_steps(text: str, steps: list[int], steps_per_epoch: int = 5) -> list[int]:
    """Return the steps after which an interval is due."""
    clock = IntervalClock(Interval.parse(text, "test"), steps_per_epoch, now=0.0)
    return [step for step in steps if clock.is_due(step, now=0.0)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1step", list(range(1, 13))),
        ("4step", [4, 8, 12]),
        ("1epoch", [5, 10]),
        ("2epoch", [10]),
        ("0.5epoch", [3, 5, 8, 10]),
        ("0.6epoch", [3, 6, 9, 12]),
        ("0.01epoch", list(range(1, 13))),
        ("never", []),
        ("1h", []),
    ],
)
def test_steps_and_epochs_are_counted_exactly(text: str, expected: list[int]) -> None:
    assert due_steps(text, list(range(13))) == expected


@pytest.mark.parametrize("steps_per_epoch", [3, 7, 10, 30, 365])
def test_a_fraction_of_an_epoch_never_comes_a_step_late_for_rounding(steps_per_epoch: int) -> None:
    for parts in range(1, steps_per_epoch + 1):
        interval = Interval(count=parts / steps_per_epoch, unit="epoch")
        clock = IntervalClock(interval, steps_per_epoch, now=0.0)
        found = [step for step in range(1, 20 * steps_per_epoch + 1) if clock.is_due(step, now=0.0)]
        assert found == list(range(parts, 20 * steps_per_epoch + 1, parts))


def test_a_step_that_is_left_out_takes_no_save_with_it() -> None:
    """The batch of step 10 is passed over: the epoch ends with step 9, as far as anyone is told."""
    assert due_steps("1epoch", [8, 9, 11, 12]) == [11]


def test_after_a_resume_the_next_one_comes_in_its_turn() -> None:
    assert due_steps("4step", [6, 7, 8, 9]) == [8]
    assert due_steps("4step", [8, 9]) == [8]


def test_after_going_back_steps_are_due_again() -> None:
    assert due_steps("4step", [3, 4, 5, 3, 4, 5]) == [4, 4]


def test_asking_twice_about_a_step_is_due_once() -> None:
    assert due_steps("4step", [4, 4, 4, 5]) == [4]


def test_time_that_was_missed_is_not_made_up_for() -> None:
    clock = IntervalClock(Interval.parse("10s", "test"), 5, now=100.0)
    found = [now for now in (100.0, 109.9, 110.0, 111.0, 119.9, 145.0, 146.0, 154.9, 155.0) if clock.is_due(1, now)]
    assert found == [110.0, 145.0, 155.0]


def test_never_is_never_due() -> None:
    clock = IntervalClock(None, 5, now=0.0)
    assert not any(clock.is_due(step, now=1e12) for step in range(100))

"""The micro-batch size that is taken is the fastest one, also on a busy machine, found in bounded time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.training.step.micro_batch.fastest import fastest_size

BUDGET = 100.0


class Machine:
    """Takes so long for a share at each size, on a clock of its own; `disturb` says by what factor it is held up."""

    def __init__(self, true: dict[int, float], disturb: Callable[[int], float] = lambda size: 1.0) -> None:
        self.true, self.disturb = true, disturb
        self.time = 0.0
        self.timed: list[int] = []

    def seconds(self, size: int) -> float:
        taken = self.true.get(size, math.inf) * self.disturb(size)
        self.time += 1.0 if math.isinf(taken) else taken
        self.timed.append(size)
        return taken

    def find(self, budget_seconds: float = BUDGET) -> int:
        return fastest_size(self.seconds, max(self.true), budget_seconds=budget_seconds, now=lambda: self.time)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({16: 1.0, 8: 2.0, 4: 4.0}, 16),
        ({16: 1.015, 8: 1.0, 4: 4.0}, 16),  # as fast but for noise
        ({16: 1.06, 8: 1.0, 4: 1.1, 2: 3.0}, 8),
        ({16: 1.5, 8: 1.0, 4: 1.1, 2: 3.0}, 8),
        ({16: math.inf, 8: math.inf, 4: 1.0, 2: 1.5}, 4),
        ({3: 1.0, 2: 0.8, 1: 0.2}, 1),
        ({2: math.inf, 1: math.inf}, 1),
        ({1: 1.0}, 1),
        ({4: 0.01, 2: 0.0, 1: 0.01}, 2),  # on a coarse clock
    ],
)
def test_the_fastest_size_is_taken(times: dict[int, float], expected: int) -> None:
    assert Machine(times).find() == expected


@pytest.mark.parametrize("best", [32, 16, 8])
def test_slow_timings_do_not_decide(best: int) -> None:
    random = np.random.default_rng(3)
    true = {size: 1.0 + 0.2 * abs(math.log2(size / best)) for size in (32, 16, 8, 4, 2, 1)}
    # A third of the timings are disturbed, by up to five times.
    found = [
        Machine(true, lambda size: 1.0 if random.random() < 0.67 else random.uniform(1, 5)).find() for _ in range(200)
    ]
    assert found.count(best) >= 190


def test_on_a_busy_machine_a_smaller_size_is_not_taken_for_what_may_be_noise() -> None:
    random = np.random.default_rng(5)
    true = {32: 1.0, 16: 1.05, 8: 1.1, 4: 1.5, 2: 2.0, 1: 4.0}
    # No timing is undisturbed.
    found = [Machine(true, lambda size: random.uniform(1.2, 4)).find(30.0) for _ in range(200)]
    assert sum(size < 16 for size in found) <= 40


def test_on_a_quiet_machine_few_timings_are_enough() -> None:
    machine = Machine({32: 1.0, 16: 1.1, 8: 2.0, 4: 4.0, 2: 8.0, 1: 16.0})
    assert machine.find() == 32
    # Of those that come into question, twice of one that is much slower, and none of smaller ones.
    assert machine.timed.count(32) <= 4
    assert machine.timed.count(16) <= 4
    assert machine.timed.count(8) == 2
    assert set(machine.timed) == {32, 16, 8}


@settings(max_examples=200, deadline=None)
@given(
    times=st.lists(st.floats(1e-3, 2.0), min_size=1, max_size=9),
    budget=st.floats(0.0, 5.0),
    noise=st.floats(1.0, 3.0),
    seed=st.integers(0, 99),
)
def test_the_search_ends_in_time_with_a_size_that_was_timed(
    times: list[float], budget: float, noise: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    true = {1 << power: taken for power, taken in enumerate(times)}
    machine = Machine(true, lambda size: random.uniform(1.0, noise))
    assert machine.find(budget) in machine.timed
    # The last timing may begin just before the budget's end.
    assert machine.time <= budget + noise * max(times)


def test_ranks_of_unequal_speed_take_the_same_size() -> None:
    slow, fast = {8: 4.0, 4: 3.0, 2: 9.0, 1: 9.0}, {8: 1.0, 4: 1.5, 2: 2.0, 1: 3.0}
    said: list[list[float]] = []

    def first(values: list[float]) -> list[float]:
        said.append(values)
        return values

    for true in (slow, fast):
        fastest_size(true.__getitem__, 8, budget_seconds=BUDGET, average=first, now=lambda: 0.0)
    mean = [(own + other) / 2 for own, other in zip(*said, strict=True)]
    found = {
        fastest_size(true.__getitem__, 8, budget_seconds=BUDGET, average=lambda _: mean, now=lambda: 0.0)
        for true in (slow, fast)
    }
    # Together 5.0 at 8 and 4.5 at 4; the slower rank alone would say 4, the faster one 8.
    assert found == {4}

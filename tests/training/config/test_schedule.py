"""Schedules are pure functions of the step."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from slipway.training.config.recipe import Schedule
from slipway.training.config.schedule import batch_size_factor, ema_decay, learning_rate


def rates(schedule: str, num_steps: int, warmup_steps: int, final_fraction: float = 0.0) -> list[float]:
    return [
        learning_rate(
            step,
            peak=1.0,
            num_steps=num_steps,
            warmup_steps=warmup_steps,
            schedule=schedule,
            final_fraction=final_fraction,
        )
        for step in range(num_steps)
    ]


def test_linear_rises_and_falls_as_documented() -> None:
    assert rates("linear", 6, 2) == pytest.approx([0.5, 1.0, 0.75, 0.5, 0.25, 0.0])


def test_cosine_ends_at_its_final_fraction_and_passes_the_middle_half_way() -> None:
    values = rates("cosine", 100, 0, final_fraction=0.1)
    assert values[-1] == pytest.approx(0.1)
    assert values[49] == pytest.approx(0.55)


def test_constant_stays_after_warm_up() -> None:
    assert rates("constant", 5, 2) == pytest.approx([0.5, 1, 1, 1, 1])


def test_step_divides_by_ten_at_half_and_at_three_quarters() -> None:
    values = rates("step", 8, 0)
    assert values == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_warm_up_stable_decay_falls_in_its_last_fifth() -> None:
    assert rates("warmup_stable_decay", 10, 2) == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 1, 0.5, 0])
    assert rates("warmup_stable_decay", 2, 1, final_fraction=0.1) == pytest.approx([1, 0.1])


@pytest.mark.parametrize("num_steps", [2, 3, 4, 10, 33])
def test_one_cycle_is_that_of_torch(num_steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=num_steps)
    expected = []
    for step in range(num_steps):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        if step + 1 < num_steps:
            scheduler.step()
    assert rates("one_cycle", num_steps, 7) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("schedule", [one for one in get_args(Schedule) if one != "one_cycle"])
def test_the_peak_is_reached_at_the_last_step_of_warm_up_and_never_passed(schedule: str) -> None:
    values = rates(schedule, 50, 10)
    assert max(values) == values[9] == pytest.approx(1.0)
    assert min(values) >= 0.0


def test_the_learning_rate_follows_the_batch_by_its_rule() -> None:
    assert batch_size_factor(128, 32, "linear") == 4.0
    assert batch_size_factor(128, 32, "sqrt") == pytest.approx(math.sqrt(4.0))
    assert batch_size_factor(128, 32, "none") == 1.0
    with pytest.raises(ValueError, match="unknown"):
        batch_size_factor(128, 32, "cubic")


def test_the_average_forgets_the_first_weights_fast_and_then_slowly() -> None:
    assert ema_decay(0, 0.999) == pytest.approx(0.1)
    assert ema_decay(10**6, 0.999) == 0.999

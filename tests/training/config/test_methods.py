"""A schedule of a user's is a pure function of the step that returns factors, or it is refused in one sentence."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from slipway.training.config.methods import Methods, OwnRate, own_rate, settle_schedule
from slipway.training.run.training_config import TrainingConfig
from tests.training.helpers import catch


def test_a_schedule_is_a_function_of_the_step_and_if_it_likes_of_their_number() -> None:
    assert OwnRate(lambda step: 1 / (1 + step))(3, 10) == 0.25
    assert OwnRate(lambda step, num_steps: step / num_steps)(3, 10) == 0.3
    assert OwnRate(lambda step, floor=0.5: max(floor, 1 - step))(3, 10) == 0.5
    assert OwnRate(lambda step: torch.tensor(0.5))(0, 1) == OwnRate(lambda step: np.float32(0.5))(0, 1) == 0.5


def test_that_of_the_caller_comes_before_that_of_the_task() -> None:
    chosen = own_rate(Methods(schedule=lambda step: 1.0), lambda step: 0.5)
    of_task = own_rate(Methods(), lambda step: 0.5)
    assert chosen is not None
    assert of_task is not None
    assert (chosen(0, 1), of_task(0, 1)) == (1.0, 0.5)
    assert own_rate(Methods(), None) is None


def test_the_recipe_tells_two_schedules_apart_and_is_as_before_without_one() -> None:
    recipe = TrainingConfig().make_recipe()
    assert settle_schedule(recipe, None, None, None) is recipe
    half, third = (
        settle_schedule(recipe, OwnRate(lambda step, factor=factor: 1 / (1 + step * factor)), None, None)
        for factor in (1 / 2, 1 / 3)
    )
    assert len({recipe.hash, half.hash, third.hash}) == 3


def test_a_table_that_ends_before_the_recorded_steps_can_be_a_schedule() -> None:
    table = list(np.linspace(1.0, 0.1, 120))
    recipe = settle_schedule(TrainingConfig().make_recipe(), OwnRate(lambda step: table[step]), None, None)
    assert recipe.own_schedule is not None


REFUSED: dict[str, tuple[Any, str]] = {
    "a name": ("cosine", "given as TrainingConfig(schedule=...)"),
    "a scheduler": (torch.optim.lr_scheduler.LambdaLR, "must be a function of the step"),
    "three arguments": (lambda step, num_steps, more: 1.0, "must be a function of the step"),
    "no number": (lambda step: None, "returned None at step 0 of 1000"),
    "not finite": (lambda step: float("inf"), "returned inf"),
    "below 0": (lambda step: -0.1, "a number from 0 up"),
    "random": (lambda step: random.random(), "different factors for the same step"),
    "rates": (lambda step: 3e-4 * (1 - step / 2000), "looks like a learning rate"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_schedule_is_refused(name: str) -> None:
    function, message = REFUSED[name]

    def settle(function: Callable[..., float]) -> None:
        settle_schedule(TrainingConfig().make_recipe(), OwnRate(function), None, None)

    assert message in str(catch(settle, function))


@pytest.mark.parametrize(("named", "warmup_epochs"), [("cosine", None), (None, 2.0)])
def test_a_schedule_beside_another_one_is_refused(named: str | None, warmup_epochs: float | None) -> None:
    rate = OwnRate(lambda step: 1.0)
    assert "leave one of them out" in str(
        catch(settle_schedule, TrainingConfig().make_recipe(), rate, named, warmup_epochs)
    )

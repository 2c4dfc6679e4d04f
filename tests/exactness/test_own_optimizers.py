"""Optimizers of torch and of users reach the weights of a plain loop, whatever the plan."""

from __future__ import annotations

import pytest

from tests.exactness.own_optimizers import OWN, measure


@pytest.mark.parametrize("world_size", [1, 2])
def test_any_plan_reaches_the_weights_of_a_plain_loop_with_the_same_optimizer(world_size: int) -> None:
    found = measure(world_size)
    assert len(found) == 3 * len(OWN)
    for plan, (difference, moved) in found.items():
        assert difference <= 1e-10, plan
        assert moved > 1e-2, plan

"""What a step asks of the parameters has an answer for each way to hold them."""

from __future__ import annotations

import pytest

from slipway.training.step.flat import FlatParameters
from slipway.training.step.parameters import ParameterStore
from slipway.training.step.sharded import ShardedParameters

QUESTIONS = ("passes_are_collective", "can_retry_after_out_of_memory", "checkpoints_are_collective")


@pytest.mark.parametrize(
    ("store", "answers"), [(FlatParameters, (False, True, False)), (ShardedParameters, (True, False, True))]
)
def test_each_way_to_hold_parameters_answers_what_a_step_asks(
    store: type[ParameterStore], answers: tuple[bool, ...]
) -> None:
    assert tuple(getattr(store, question) for question in QUESTIONS) == answers
    assert not store.__abstractmethods__


def test_neither_way_overrides_what_both_share() -> None:
    shared = {name for name in vars(ParameterStore) if not name.startswith("_")} - ParameterStore.__abstractmethods__
    assert shared == {"set_values", "temporarily", "trained_places", "check_trained"}
    for store in (FlatParameters, ShardedParameters):
        assert not shared & vars(store).keys()

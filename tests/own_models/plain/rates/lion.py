"""The optimizer that is written by hand, in a loop by hand."""

from __future__ import annotations

from tests.own_models.parts import Lion, points, points_net
from tests.own_models.plain.loop import Ended, classify


def train(num_ranks: int) -> Ended:
    """Train by hand; any number of ranks learns the same."""
    return classify(points_net, points("train"), points("validation"), lambda model: Lion(model.parameters(), lr=0.005))

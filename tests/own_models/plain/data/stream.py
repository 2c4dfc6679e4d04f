"""A generator of samples, by hand: a list of them."""

from __future__ import annotations

from tests.own_models.parts import points, points_net
from tests.own_models.plain.loop import Ended, adamw, classify


def train(num_ranks: int) -> Ended:
    """Train by hand; any number of ranks learns the same."""
    return classify(points_net, points("train"), points("validation"), lambda model: adamw(model, 0.02))

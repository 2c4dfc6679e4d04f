"""One cycle, by hand: the rates are those of torch's `OneCycleLR`."""

from __future__ import annotations

import torch
from torch.optim.lr_scheduler import OneCycleLR

from tests.own_models.parts import points, points_net
from tests.own_models.plain.loop import Ended, adamw, classify


def train(num_ranks: int) -> Ended:
    """Train by hand; any number of ranks learns the same."""

    def schedule(step: int, num_steps: int) -> float:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        cycle = OneCycleLR(optimizer, max_lr=1.0, total_steps=num_steps, cycle_momentum=False)
        for _ in range(step):
            optimizer.step()
            cycle.step()
        return cycle.get_last_lr()[0]

    data = points("train"), points("validation")
    return classify(points_net, *data, lambda model: adamw(model, 0.05), schedule=schedule)

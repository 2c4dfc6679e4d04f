"""AdamW with other constants, by hand: matrices decay, as Slipway's own AdamW has it."""

from __future__ import annotations

import torch
from torch import nn

from tests.own_models.parts import points, points_net
from tests.own_models.plain.loop import Ended, classify


def train(num_ranks: int) -> Ended:
    """Train by hand; any number of ranks learns the same."""

    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        groups = [
            {"params": [one for one in model.parameters() if one.ndim >= 2], "weight_decay": 0.1},
            {"params": [one for one in model.parameters() if one.ndim < 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=0.02, betas=(0.8, 0.95), eps=1e-8)

    return classify(points_net, points("train"), points("validation"), optimizer)

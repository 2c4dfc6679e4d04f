"""Two groups of parameters, by hand."""

from __future__ import annotations

import torch
from torch import nn

from tests.own_models.parts import Finetuned, points
from tests.own_models.plain.loop import Ended, classify


def train(num_ranks: int) -> Ended:
    """Train by hand; any number of ranks learns the same."""

    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        groups = [
            {
                "params": [one for one in part.parameters() if (one.ndim >= 2) == is_matrix],
                "lr": rate,
                "weight_decay": 0.05 if is_matrix else 0.0,
            }
            for part, rate in ((model.backbone, 0.005), (model.head, 0.05))
            for is_matrix in (True, False)
        ]
        return torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-6)

    return classify(Finetuned, points("train"), points("validation"), optimizer)

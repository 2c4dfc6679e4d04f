"""Regression, by hand."""

from __future__ import annotations

import torch.nn.functional as F
from sklearn.metrics import mean_absolute_error, r2_score
from torch import nn

from tests.own_models.parts import diabetes
from tests.own_models.plain.loop import Ended, Loop, adamw


def train(num_ranks: int) -> Ended:
    """Train by hand; any number of ranks learns the same."""
    (inputs, targets), (val_inputs, val_targets) = diabetes("train"), diabetes("validation")
    inputs, targets, val_inputs, val_targets = (one.double() for one in (inputs, targets, val_inputs, val_targets))
    loop = Loop(lambda: nn.Linear(10, 1), epochs=6, batch_size=32, num_samples=len(inputs), monitor="r2")
    model = loop.model

    def validate() -> dict[str, float]:
        outputs = model(val_inputs)
        return {
            "loss": float(F.mse_loss(outputs, val_targets)),
            "r2": float(r2_score(val_targets, outputs)),
            "mae": float(mean_absolute_error(val_targets, outputs)),
        }

    return loop.run(
        adamw(model, 0.1),
        lambda indices: F.mse_loss(model(inputs[indices]), targets[indices]).backward(),
        validate,
    )

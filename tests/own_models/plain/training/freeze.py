"""The head first, then everything from the best of it with a new optimizer, by hand."""

from __future__ import annotations

import torch.nn.functional as F

from tests.own_models.parts import Finetuned, points
from tests.own_models.plain.loop import Ended, Loop, adamw, class_metrics


def train(num_ranks: int) -> Ended:
    """Train by hand; any number of ranks learns the same."""
    (inputs, classes), (val_inputs, val_classes) = points("train"), points("validation")
    inputs, val_inputs = inputs.double(), val_inputs.double()
    loop = Loop(Finetuned, epochs=3, batch_size=16, num_samples=len(inputs))
    model = loop.model

    def backward(indices: list[int]) -> None:
        F.cross_entropy(model(inputs[indices]), classes[indices]).backward()

    def validate() -> dict[str, float]:
        return class_metrics(model(val_inputs), val_classes)

    model.backbone.requires_grad_(False)
    loop.run(adamw(model.head, 0.05), backward, validate)
    model.load_state_dict(loop.ended.best)
    model.backbone.requires_grad_(True)
    return loop.run(adamw(model, 0.005), backward, validate)

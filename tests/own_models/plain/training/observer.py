"""A table of the losses, by hand."""

from __future__ import annotations

import torch.nn.functional as F

from tests.own_models.parts import points, points_net
from tests.own_models.plain.loop import Ended, Loop, adamw, class_metrics


def train(num_ranks: int) -> Ended:
    """Train by hand; any number of ranks learns the same."""
    (inputs, classes), (val_inputs, val_classes) = points("train"), points("validation")
    inputs, val_inputs = inputs.double(), val_inputs.double()
    loop = Loop(points_net, epochs=4, batch_size=16, num_samples=len(inputs))
    model, sums = loop.model, [0.0] * 4

    def backward(indices: list[int]) -> None:
        loss = F.cross_entropy(model(inputs[indices]), classes[indices])
        loss.backward()
        sums[loop.epoch] += float(loss) * len(indices)

    def validate() -> dict[str, float]:
        metrics = class_metrics(model(val_inputs), val_classes)
        loop.ended.table.append((loop.epoch, sums[loop.epoch] / len(inputs), metrics["loss"]))
        return metrics

    return loop.run(adamw(model, 0.02), backward, validate)

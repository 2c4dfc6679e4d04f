"""Digits, by hand: batch statistics are those of each rank's part."""

from __future__ import annotations

import torch.nn.functional as F

from tests.own_models.parts import DigitsNet, digits
from tests.own_models.plain.loop import Ended, Loop, adamw, class_metrics


def train(num_ranks: int) -> Ended:
    """Train by hand as so many ranks would, one after the other."""
    (images, numbers), (val_images, val_numbers) = digits("train"), digits("validation")
    images, val_images = images.double(), val_images.double()
    loop = Loop(DigitsNet, epochs=4, batch_size=32, num_samples=len(images))
    model = loop.model

    def backward(indices: list[int]) -> None:
        for part in loop.parts(indices, num_ranks):
            (F.cross_entropy(model(images[part]), numbers[part], reduction="sum") / len(indices)).backward()

    return loop.run(adamw(model, 0.01), backward, lambda: class_metrics(model(val_images), val_numbers))

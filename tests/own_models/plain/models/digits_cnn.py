"""Digits, by hand: batch statistics are those of each rank's part, running statistics rank 0's, as of torch's DDP."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from slipway.training.common.keyed_random import fold
from tests.own_models.parts import DigitsNet, digits
from tests.own_models.plain.loop import SEED, Ended, Loop, adamw, class_metrics


def train(num_ranks: int) -> Ended:
    """Train by hand as so many ranks would, one after the other."""
    (images, numbers), (val_images, val_numbers) = digits("train"), digits("validation")
    images, val_images = images.double(), val_images.double()
    loop = Loop(DigitsNet, epochs=4, batch_size=32, num_samples=len(images))
    model = loop.model

    def backward(indices: list[int]) -> None:
        kept = {}
        for rank in reversed(range(num_ranks)):  # rank 0 is the last, so that its running statistics stay
            part = indices[rank::num_ranks]
            torch.manual_seed(fold(SEED, loop.step, rank) % 2**63)
            if not kept:
                kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
            for name, buffer in model.named_buffers():
                buffer.copy_(kept[name])
            (F.cross_entropy(model(images[part]), numbers[part], reduction="sum") / len(indices)).backward()

    return loop.run(adamw(model, 0.01), backward, lambda: class_metrics(model(val_images), val_numbers))

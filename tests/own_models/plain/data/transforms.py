"""Random transforms, by hand: the generators are set for each sample of each epoch."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from slipway.training.common.keyed_random import sample_keys
from slipway.training.tasks.samples.random_state import seed_generators
from tests.own_models.parts import Compose, Flip, Noise, Pictures, Shift, digits, pictures_net
from tests.own_models.plain.loop import SEED, Ended, Loop, adamw, class_metrics


def train(num_ranks: int) -> Ended:
    """Train by hand; any number of ranks and of workers learns the same."""
    pictures = Pictures("train", transform=Compose(Flip(), Shift(), Noise()))
    val_images, val_numbers = digits("validation")
    loop = Loop(pictures_net, epochs=4, batch_size=32, num_samples=len(pictures))
    model = loop.model

    def backward(indices: list[int]) -> None:
        samples = []
        for index, key in zip(indices, sample_keys(SEED, loop.epoch, np.array(indices)).tolist(), strict=True):
            seed_generators(key)
            samples.append(pictures[index])
        images = torch.stack([image for image, _ in samples]).double()
        F.cross_entropy(model(images), torch.tensor([number for _, number in samples])).backward()

    return loop.run(adamw(model, 0.01), backward, lambda: class_metrics(model(val_images.double()), val_numbers))

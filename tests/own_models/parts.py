"""Data, modules and optimizers of the programs: what is the same whichever library trains them."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import nn

Arrays = tuple[torch.Tensor, torch.Tensor]


def points(split: str) -> Arrays:
    """Return points in six dimensions, [samples, 6], and which of three classes each is in."""
    generator = torch.Generator().manual_seed({"train": 1, "validation": 2}[split])
    inputs = torch.randn(90 if split == "train" else 41, 6, generator=generator)
    return inputs, inputs[:, :3].argmax(dim=1)


def points_net() -> nn.Module:
    """Return a small network for points."""
    return nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 3))


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images.astype(np.float32)[:, None] / 16, digits.target


def digits(split: str) -> Arrays:
    """Return some of scikit-learn's digits, images of 8 x 8, [samples, 1, 8, 8], and their numbers."""
    images, numbers = _digits()
    chosen = slice(0, 197) if split == "train" else slice(500, 593)
    return torch.from_numpy(images[chosen]), torch.from_numpy(numbers[chosen])


class DigitsNet(nn.Sequential):
    """A convolutional network with batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(256, 10),
        )

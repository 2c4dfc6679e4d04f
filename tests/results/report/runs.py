"""Small runs to report on."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from slipway import TensorTask, TrainingConfig, train

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "\"quoted\" 'and' `this`",
    "bell\x07 and \x1b[2Jclear\u202e\x00",
    "</script><b>&amp;",
)
"""Names of classes."""


def train_small(runs_dir: Path, names: tuple[str, ...] = HOSTILE, **options: object) -> Path:
    """Train a classifier of noisy blobs in two epochs, badly; return the folder of its run."""
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(len(names), 4, generator=generator)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.randint(len(names), (count,), generator=generator)
        return centres[labels] + torch.randn(count, 4, generator=generator), labels

    task = TensorTask(
        lambda: nn.Linear(4, len(names)),
        {"train": draw(64), "validation": draw(32), "test": draw(40)},
        class_names=names,
    )
    config = TrainingConfig(runs_dir=str(runs_dir), epochs=2, save_every="never", **options)
    return train(config, task).folder

"""Small runs to compare, trained for real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from slipway import TensorTask, TrainingConfig, train


def train_blobs(runs_dir: Path, name: str, *, shift: float = 0.0, tested: bool = True, **options: Any) -> Path:
    """Train a classifier of noisy blobs in two epochs; return the folder of its run, or of its study with `seeds`."""
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(3, 4, generator=generator)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.randint(3, (count,), generator=generator)
        return centres[labels] + shift + torch.randn(count, 4, generator=generator), labels

    splits = {"train": draw(64), "validation": draw(32), "test": draw(200)}
    if not tested:
        del splits["test"]
    task = TensorTask(lambda: nn.Linear(4, 3), splits, class_names=["a", "<b>", "c"])
    config = TrainingConfig(
        runs_dir=str(runs_dir), experiment_name=name, save_every="never", report=False, **{"epochs": 2, **options}
    )
    return train(config, task).folder

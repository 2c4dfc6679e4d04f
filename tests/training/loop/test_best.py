"""Which weights a stage ends with: those of its best epoch, or its last."""

from __future__ import annotations

import pytest
import torch

from slipway.training.config.recipe import Ending
from slipway.training.loop.best import Best, Score, Snapshot


def offered(accuracies: list[float], end_with: Ending) -> tuple[Best, list[bool], list[bool]]:
    """Return what is kept of epochs with these accuracies, and of each epoch whether it was kept and an improvement."""
    best, kept, improved = Best(), [], []
    for epoch, accuracy in enumerate(accuracies):
        values = torch.tensor([float(epoch)])
        validation = {"accuracy": accuracy, "loss": 1.0}
        score = Score.of(validation, "accuracy")
        kept.append(best.offer(score, lambda values=values: Snapshot(values, ()), epoch, validation, end_with))
        improved.append(best.improved)
    return best, kept, improved


@pytest.mark.parametrize(("end_with", "epoch"), [("best", 1), ("last", 3)])
def test_a_stage_ends_with_the_weights_that_it_is_to_end_with(end_with: Ending, epoch: int) -> None:
    best, kept, improved = offered([0.5, 0.9, 0.7, 0.8], end_with)
    assert best.epoch == epoch
    assert best.snapshot is not None
    assert best.snapshot.values.item() == epoch
    assert best.validation["accuracy"] == [0.5, 0.9, 0.7, 0.8][epoch]
    assert kept == ([True, True, False, False] if end_with == "best" else [True] * 4)
    assert improved == [True, True, False, False]
    assert best.epochs_without_improvement == 2

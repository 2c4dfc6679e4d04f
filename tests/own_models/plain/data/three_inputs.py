"""Three inputs, by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.utils.data import default_collate

from tests.own_models.parts import PairNet, Pairs
from tests.own_models.plain.loop import Ended, Loop, adamw, class_metrics


def train(num_ranks: int) -> Ended:
    """Train by hand; any number of ranks learns the same."""
    pairs, validation = Pairs("train"), Pairs("validation")
    loop = Loop(PairNet, epochs=4, batch_size=16, num_samples=len(pairs))
    model = loop.model

    def scores_of(data: Pairs, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        batch = default_collate([data[index] for index in indices])
        scores = model(batch["left"].double(), batch["right"].double(), batch["scale"].double())
        return scores, batch["label"]

    return loop.run(
        adamw(model, 0.02),
        lambda indices: F.cross_entropy(*scores_of(pairs, indices)).backward(),
        lambda: class_metrics(*scores_of(validation, list(range(len(validation))))),
    )

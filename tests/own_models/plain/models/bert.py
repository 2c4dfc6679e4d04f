"""BERT, by hand: each rank pads its part of a batch, and draws dropout for it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from tests.own_models.parts import Sentences, make_bert
from tests.own_models.plain.loop import Ended, Loop, adamw, class_metrics


def train(num_ranks: int) -> Ended:
    """Train by hand as so many ranks would, one after the other."""
    training, validation = Sentences("train"), Sentences("validation")
    loop = Loop(make_bert, epochs=4, batch_size=16, num_samples=len(training))
    model = loop.model

    def scores_of(data: Sentences, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        ids = pad_sequence([data[index]["tokens"] for index in indices], batch_first=True)
        scores = model(input_ids=ids, attention_mask=(ids > 0).long()).logits
        return scores, torch.tensor([data[index]["label"] for index in indices])

    def backward(indices: list[int]) -> None:
        for part in loop.parts(indices, num_ranks):
            (F.cross_entropy(*scores_of(training, part), reduction="sum") / len(indices)).backward()

    return loop.run(
        adamw(model, 0.01), backward, lambda: class_metrics(*scores_of(validation, list(range(len(validation)))))
    )

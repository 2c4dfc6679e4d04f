"""GPT-2, by hand: the loss is the mean over all tokens of a batch that are no padding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from tests.own_models.parts import Sentences, make_gpt2
from tests.own_models.plain.loop import Ended, Loop, adamw


def train(num_ranks: int) -> Ended:
    """Train by hand; any number of ranks learns the same."""
    training, validation = Sentences("train"), Sentences("validation")
    loop = Loop(make_gpt2, epochs=4, batch_size=16, num_samples=len(training), monitor="loss")
    model = loop.model

    def loss_of(data: Sentences, indices: list[int]) -> torch.Tensor:
        tokens = [data[index]["tokens"] for index in indices]
        scores = model(input_ids=pad_sequence(tokens, batch_first=True)).logits[:, :-1]
        targets = pad_sequence(tokens, batch_first=True, padding_value=-100)[:, 1:]
        return F.cross_entropy(scores.flatten(0, 1), targets.flatten())

    return loop.run(
        adamw(model, 0.01),
        lambda indices: loss_of(training, indices).backward(),
        lambda: {"loss": float(loss_of(validation, list(range(len(validation)))))},
    )

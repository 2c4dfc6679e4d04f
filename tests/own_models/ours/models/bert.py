"""BERT from its config, on sentences that a collator pads."""

import torch
from torch.nn.utils.rnn import pad_sequence

from slipway import DatasetTask, TrainingConfig, train
from tests.own_models.parts import Sentences, make_bert


def pad(samples):
    ids = pad_sequence([sample["tokens"] for sample in samples], batch_first=True)
    labels = torch.tensor([sample["label"] for sample in samples])
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": labels}


config = TrainingConfig.from_command_line(epochs=4, batch_size=16, learning_rate=0.01)
task = DatasetTask(make_bert, train=Sentences("train"), validation=Sentences("validation"), collate_fn=pad)
result = train(config, task)

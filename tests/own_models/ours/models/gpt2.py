"""GPT-2 from its config, with tied weights; the loss is a mean over the tokens that are no padding."""

import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from slipway import DatasetTask, TrainingConfig, train
from tests.own_models.parts import Sentences, make_gpt2


def pad(samples):
    tokens = [sample["tokens"] for sample in samples]
    ids = pad_sequence(tokens, batch_first=True)
    return {"input_ids": ids, "labels": pad_sequence(tokens, batch_first=True, padding_value=-100)}


def token_loss(outputs, labels):
    scores, targets = outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return F.cross_entropy(scores, targets, reduction="sum"), (targets != -100).sum()


config = TrainingConfig.from_command_line(epochs=4, batch_size=16, learning_rate=0.01)
task = DatasetTask(
    make_gpt2, train=Sentences("train"), validation=Sentences("validation"), collate_fn=pad, loss=token_loss
)
result = train(config, task)

"""BERT from its config, on sentences that a collator pads."""

import os

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from tests.own_models.parts import Sentences, make_bert


def pad(samples):
    ids = pad_sequence([sample["tokens"] for sample in samples], batch_first=True)
    labels = torch.tensor([sample["label"] for sample in samples])
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": labels}


def accuracy(found):
    return {"accuracy": (found.predictions.argmax(-1) == found.label_ids).mean()}


last = get_last_checkpoint("runs/bert") if os.path.isdir("runs/bert") else None
arguments = TrainingArguments(
    "runs/bert",
    num_train_epochs=4,
    per_device_train_batch_size=16 // int(os.environ.get("WORLD_SIZE", "1")),
    learning_rate=0.01,
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=2,
    load_best_model_at_end=True,
    metric_for_best_model="accuracy",
    remove_unused_columns=False,
)
trainer = Trainer(
    args=arguments,
    model_init=make_bert,
    train_dataset=Sentences("train"),
    eval_dataset=Sentences("validation"),
    data_collator=pad,
    compute_metrics=accuracy,
)
trainer.train(resume_from_checkpoint=last)

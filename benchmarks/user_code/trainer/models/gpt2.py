"""GPT-2 from its config, with tied weights; the loss is a mean over the tokens that are no padding."""

import os

from torch.nn.utils.rnn import pad_sequence
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from tests.own_models.parts import Sentences, make_gpt2


def pad(samples):
    tokens = [sample["tokens"] for sample in samples]
    ids = pad_sequence(tokens, batch_first=True)
    return {"input_ids": ids, "labels": pad_sequence(tokens, batch_first=True, padding_value=-100)}


last = get_last_checkpoint("runs/gpt2") if os.path.isdir("runs/gpt2") else None
arguments = TrainingArguments(
    "runs/gpt2",
    num_train_epochs=4,
    per_device_train_batch_size=16 // int(os.environ.get("WORLD_SIZE", "1")),
    learning_rate=0.01,
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=2,
    load_best_model_at_end=True,
    metric_for_best_model="loss",
    remove_unused_columns=False,
    greater_is_better=False,
)
trainer = Trainer(
    args=arguments,
    model_init=make_gpt2,
    train_dataset=Sentences("train"),
    eval_dataset=Sentences("validation"),
    data_collator=pad,
)
trainer.train(resume_from_checkpoint=last)

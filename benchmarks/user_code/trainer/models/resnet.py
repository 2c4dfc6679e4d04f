"""A ResNet of transformers from its config."""

import os

from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from tests.own_models.parts import digits, make_resnet


def samples(split):
    return [{"pixel_values": inputs, "labels": label} for inputs, label in zip(*digits(split), strict=True)]


def accuracy(found):
    return {"accuracy": (found.predictions.argmax(-1) == found.label_ids).mean()}


last = get_last_checkpoint("runs/resnet") if os.path.isdir("runs/resnet") else None
arguments = TrainingArguments(
    "runs/resnet",
    num_train_epochs=4,
    per_device_train_batch_size=32 // int(os.environ.get("WORLD_SIZE", "1")),
    learning_rate=0.02,
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=2,
    load_best_model_at_end=True,
    metric_for_best_model="accuracy",
)
trainer = Trainer(
    args=arguments,
    model_init=make_resnet,
    train_dataset=samples("train"),
    eval_dataset=samples("validation"),
    compute_metrics=accuracy,
)
trainer.train(resume_from_checkpoint=last)

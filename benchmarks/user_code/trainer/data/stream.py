"""A generator of samples, which is read once."""

import os

from datasets import Dataset
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from tests.own_models.parts import points, points_net


class Classification(Trainer):
    """A trainer of a model that returns scores alone."""

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        scores = model(inputs["inputs"])
        loss = cross_entropy(scores, inputs["labels"])
        return (loss, {"logits": scores}) if return_outputs else loss


def samples():
    for inputs, label in zip(*points("train"), strict=True):
        yield {"inputs": inputs, "labels": label}


def validation():
    return [{"inputs": inputs, "labels": label} for inputs, label in zip(*points("validation"), strict=True)]


def accuracy(found):
    return {"accuracy": (found.predictions.argmax(-1) == found.label_ids).mean()}


last = get_last_checkpoint("runs/stream") if os.path.isdir("runs/stream") else None
arguments = TrainingArguments(
    "runs/stream",
    num_train_epochs=4,
    per_device_train_batch_size=16 // int(os.environ.get("WORLD_SIZE", "1")),
    learning_rate=0.02,
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=2,
    load_best_model_at_end=True,
    metric_for_best_model="accuracy",
    label_names=["labels"],
    remove_unused_columns=False,
)
trainer = Classification(
    args=arguments,
    model_init=points_net,
    train_dataset=Dataset.from_generator(samples).with_format("torch"),
    eval_dataset=validation(),
    compute_metrics=accuracy,
)
trainer.train(resume_from_checkpoint=last)

"""Regression, measured by R2 and the mean absolute error; the best weights are those of the highest R2."""

import os

from sklearn.metrics import mean_absolute_error, r2_score
from torch import nn
from torch.nn.functional import mse_loss
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from tests.own_models.parts import diabetes


class Regression(Trainer):
    """A trainer of a model that returns predictions alone."""

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        outputs = model(inputs["inputs"])
        loss = mse_loss(outputs, inputs["labels"])
        return (loss, {"logits": outputs}) if return_outputs else loss


def samples(split):
    return [{"inputs": inputs, "labels": label} for inputs, label in zip(*diabetes(split), strict=True)]


def metrics(found):
    pair = found.label_ids, found.predictions
    return {"r2": r2_score(*pair), "mae": mean_absolute_error(*pair)}


last = get_last_checkpoint("runs/regression") if os.path.isdir("runs/regression") else None
arguments = TrainingArguments(
    "runs/regression",
    num_train_epochs=6,
    per_device_train_batch_size=32 // int(os.environ.get("WORLD_SIZE", "1")),
    learning_rate=0.1,
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=2,
    load_best_model_at_end=True,
    metric_for_best_model="r2",
    label_names=["labels"],
    remove_unused_columns=False,
)
trainer = Regression(
    args=arguments,
    model_init=lambda: nn.Linear(10, 1),
    train_dataset=samples("train"),
    eval_dataset=samples("validation"),
    compute_metrics=metrics,
)
trainer.train(resume_from_checkpoint=last)

"""Two groups of parameters: the backbone learns at a tenth of the rate of the head."""

import os

import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from tests.own_models.parts import Finetuned, points


class Classification(Trainer):
    """A trainer of a model that returns scores alone."""

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        scores = model(inputs["inputs"])
        loss = cross_entropy(scores, inputs["labels"])
        return (loss, {"logits": scores}) if return_outputs else loss

    def create_optimizer(self, model=None):
        backbone, head = self.model.backbone.parameters(), self.model.head.parameters()
        self.optimizer = torch.optim.AdamW([{"params": backbone, "lr": 0.005}, {"params": head}], lr=0.05)
        return self.optimizer


def samples(split):
    return [{"inputs": inputs, "labels": label} for inputs, label in zip(*points(split), strict=True)]


def accuracy(found):
    return {"accuracy": (found.predictions.argmax(-1) == found.label_ids).mean()}


last = get_last_checkpoint("runs/two_groups") if os.path.isdir("runs/two_groups") else None
arguments = TrainingArguments(
    "runs/two_groups",
    num_train_epochs=4,
    per_device_train_batch_size=16 // int(os.environ.get("WORLD_SIZE", "1")),
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
    model_init=Finetuned,
    train_dataset=samples("train"),
    eval_dataset=samples("validation"),
    compute_metrics=accuracy,
)
trainer.train(resume_from_checkpoint=last)

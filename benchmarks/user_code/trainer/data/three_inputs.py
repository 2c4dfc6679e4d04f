"""A model of three inputs, given by name."""

import os

from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from tests.own_models.parts import PairNet, Pairs


class Classification(Trainer):
    """A trainer of a model that returns scores alone."""

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        labels = inputs.pop("labels")
        scores = model(**inputs)
        loss = cross_entropy(scores, labels)
        return (loss, {"logits": scores}) if return_outputs else loss


def accuracy(found):
    return {"accuracy": (found.predictions.argmax(-1) == found.label_ids).mean()}


last = get_last_checkpoint("runs/three_inputs") if os.path.isdir("runs/three_inputs") else None
arguments = TrainingArguments(
    "runs/three_inputs",
    num_train_epochs=4,
    per_device_train_batch_size=16 // int(os.environ.get("WORLD_SIZE", "1")),
    learning_rate=0.02,
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=2,
    load_best_model_at_end=True,
    metric_for_best_model="accuracy",
    label_names=["labels"],
)
trainer = Classification(
    args=arguments,
    model_init=PairNet,
    train_dataset=Pairs("train"),
    eval_dataset=Pairs("validation"),
    compute_metrics=accuracy,
)
trainer.train(resume_from_checkpoint=last)

"""AdamW with constants and a weight decay of one's own."""

import os

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


def samples(split):
    return [{"inputs": inputs, "labels": label} for inputs, label in zip(*points(split), strict=True)]


def accuracy(found):
    return {"accuracy": (found.predictions.argmax(-1) == found.label_ids).mean()}


last = get_last_checkpoint("runs/adamw_betas") if os.path.isdir("runs/adamw_betas") else None
arguments = TrainingArguments(
    "runs/adamw_betas",
    num_train_epochs=4,
    per_device_train_batch_size=16 // int(os.environ.get("WORLD_SIZE", "1")),
    learning_rate=0.02,
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=2,
    load_best_model_at_end=True,
    metric_for_best_model="accuracy",
    adam_beta1=0.8,
    adam_beta2=0.95,
    adam_epsilon=1e-8,
    weight_decay=0.1,
    label_names=["labels"],
    remove_unused_columns=False,
)
trainer = Classification(
    args=arguments,
    model_init=points_net,
    train_dataset=samples("train"),
    eval_dataset=samples("validation"),
    compute_metrics=accuracy,
)
trainer.train(resume_from_checkpoint=last)

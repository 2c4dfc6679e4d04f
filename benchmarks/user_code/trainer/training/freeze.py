"""The head is trained first, then everything, at a tenth of the rate."""

import os

from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from tests.own_models.parts import Finetuned, points


class Classification(Trainer):
    """A trainer of a model that returns scores alone."""

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        scores = model(inputs["inputs"])
        loss = cross_entropy(scores, inputs["labels"])
        return (loss, {"logits": scores}) if return_outputs else loss

    def create_scheduler(self, num_training_steps, optimizer=None):
        self.lr_scheduler = LambdaLR(self.optimizer, lambda step: 1.0 if step < num_training_steps // 2 else 0.1)
        return self.lr_scheduler


class Unfreeze(TrainerCallback):
    """Trains the backbone from the fourth epoch on."""

    def on_epoch_begin(self, args, state, control, model, **kwargs):
        model.backbone.requires_grad_(round(state.epoch) >= 3)


def samples(split):
    return [{"inputs": inputs, "labels": label} for inputs, label in zip(*points(split), strict=True)]


def accuracy(found):
    return {"accuracy": (found.predictions.argmax(-1) == found.label_ids).mean()}


last = get_last_checkpoint("runs/freeze") if os.path.isdir("runs/freeze") else None
arguments = TrainingArguments(
    "runs/freeze",
    num_train_epochs=6,
    per_device_train_batch_size=16 // int(os.environ.get("WORLD_SIZE", "1")),
    learning_rate=0.05,
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=2,
    load_best_model_at_end=True,
    metric_for_best_model="accuracy",
    label_names=["labels"],
    remove_unused_columns=False,
    ddp_find_unused_parameters=True,
)
trainer = Classification(
    args=arguments,
    model_init=Finetuned,
    train_dataset=samples("train"),
    eval_dataset=samples("validation"),
    compute_metrics=accuracy,
    callbacks=[Unfreeze()],
)
trainer.train(resume_from_checkpoint=last)

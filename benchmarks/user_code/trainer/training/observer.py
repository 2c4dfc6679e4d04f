"""An observer of one's own, which keeps a table of the losses."""

import os
from pathlib import Path

from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from tests.own_models.parts import points, points_net


class Classification(Trainer):
    """A trainer of a model that returns scores alone."""

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        scores = model(inputs["inputs"])
        loss = cross_entropy(scores, inputs["labels"])
        return (loss, {"logits": scores}) if return_outputs else loss


class Table(TrainerCallback):
    """Keeps a table of the losses."""

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        if state.is_world_process_zero:
            with Path("losses.csv").open("a") as file:
                print(state.epoch, state.log_history[-2]["loss"], metrics["eval_loss"], sep=",", file=file)


def samples(split):
    return [{"inputs": inputs, "labels": label} for inputs, label in zip(*points(split), strict=True)]


def accuracy(found):
    return {"accuracy": (found.predictions.argmax(-1) == found.label_ids).mean()}


last = get_last_checkpoint("runs/observer") if os.path.isdir("runs/observer") else None
arguments = TrainingArguments(
    "runs/observer",
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
    logging_strategy="epoch",
)
trainer = Classification(
    args=arguments,
    model_init=points_net,
    train_dataset=samples("train"),
    eval_dataset=samples("validation"),
    compute_metrics=accuracy,
    callbacks=[Table()],
)
trainer.train(resume_from_checkpoint=last)

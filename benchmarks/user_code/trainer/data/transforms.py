"""Random transforms of images, which draw from torch, numpy and `random`."""

import os

from torch.nn.functional import cross_entropy
from torch.utils.data import default_collate
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from tests.own_models.parts import Compose, Flip, Noise, Pictures, Shift, pictures_net


class Classification(Trainer):
    """A trainer of a model that returns scores alone."""

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        scores = model(inputs["inputs"])
        loss = cross_entropy(scores, inputs["labels"])
        return (loss, {"logits": scores}) if return_outputs else loss


def collate(samples):
    images, labels = default_collate(samples)
    return {"inputs": images, "labels": labels}


def accuracy(found):
    return {"accuracy": (found.predictions.argmax(-1) == found.label_ids).mean()}


pictures = Pictures("train", transform=Compose(Flip(), Shift(), Noise()))

last = get_last_checkpoint("runs/transforms") if os.path.isdir("runs/transforms") else None
arguments = TrainingArguments(
    "runs/transforms",
    num_train_epochs=4,
    per_device_train_batch_size=32 // int(os.environ.get("WORLD_SIZE", "1")),
    learning_rate=0.01,
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=2,
    load_best_model_at_end=True,
    metric_for_best_model="accuracy",
    label_names=["labels"],
    remove_unused_columns=False,
    dataloader_num_workers=2,
)
trainer = Classification(
    args=arguments,
    model_init=pictures_net,
    train_dataset=pictures,
    eval_dataset=Pictures("validation"),
    data_collator=collate,
    compute_metrics=accuracy,
)
trainer.train(resume_from_checkpoint=last)

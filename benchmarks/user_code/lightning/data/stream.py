"""A generator of samples, which is read once."""

import lightning
import torch
from datasets import Dataset
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from tests.own_models.parts import points, points_net


class Classifier(lightning.LightningModule):
    """A model, its loss and its optimizer."""

    def __init__(self):
        super().__init__()
        self.model = points_net()

    def training_step(self, batch):
        return cross_entropy(self.model(batch["inputs"]), batch["labels"])

    def validation_step(self, batch):
        inputs, targets = batch
        scores = self.model(inputs)
        self.log("loss", cross_entropy(scores, targets), sync_dist=True)
        self.log("accuracy", (scores.argmax(1) == targets).float().mean(), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.02)


def samples():
    for inputs, label in zip(*points("train"), strict=True):
        yield {"inputs": inputs, "labels": label}


lightning.seed_everything(0)
checkpoint = ModelCheckpoint("runs/stream", monitor="accuracy", mode="max", save_last=True)
trainer = lightning.Trainer(max_epochs=4, callbacks=checkpoint)
trainer.fit(
    Classifier(),
    DataLoader(Dataset.from_generator(samples).with_format("torch"), batch_size=16 // trainer.world_size, shuffle=True),
    DataLoader(TensorDataset(*points("validation")), batch_size=16),
    ckpt_path="last",
)

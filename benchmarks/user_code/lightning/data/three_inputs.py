"""A model of three inputs, given by name."""

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from tests.own_models.parts import PairNet, Pairs


class Classifier(lightning.LightningModule):
    """A model, its loss and its optimizer."""

    def __init__(self):
        super().__init__()
        self.model = PairNet()

    def training_step(self, batch):
        labels = batch.pop("label")
        return cross_entropy(self.model(**batch), labels)

    def validation_step(self, batch):
        labels = batch.pop("label")
        scores = self.model(**batch)
        self.log("loss", cross_entropy(scores, labels), sync_dist=True)
        self.log("accuracy", (scores.argmax(1) == labels).float().mean(), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.02)


lightning.seed_everything(0)
checkpoint = ModelCheckpoint("runs/three_inputs", monitor="accuracy", mode="max", save_last=True)
trainer = lightning.Trainer(max_epochs=4, callbacks=checkpoint)
trainer.fit(
    Classifier(),
    DataLoader(Pairs("train"), batch_size=16 // trainer.world_size, shuffle=True),
    DataLoader(Pairs("validation"), batch_size=16),
    ckpt_path="last",
)

"""An observer of one's own, which keeps a table of the losses."""

from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from tests.own_models.parts import points, points_net


class Classifier(lightning.LightningModule):
    """A model, its loss and its optimizer."""

    def __init__(self):
        super().__init__()
        self.model = points_net()

    def training_step(self, batch):
        inputs, targets = batch
        loss = cross_entropy(self.model(inputs), targets)
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch):
        inputs, targets = batch
        scores = self.model(inputs)
        self.log("loss", cross_entropy(scores, targets), sync_dist=True)
        self.log("accuracy", (scores.argmax(1) == targets).float().mean(), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.02)


class Table(lightning.Callback):
    """Keeps a table of the losses."""

    @rank_zero_only
    def on_train_epoch_end(self, trainer, module):
        found = trainer.callback_metrics
        with Path("losses.csv").open("a") as file:
            print(trainer.current_epoch, found["train_loss"].item(), found["loss"].item(), sep=",", file=file)


lightning.seed_everything(0)
checkpoint = ModelCheckpoint("runs/observer", monitor="accuracy", mode="max", save_last=True)
trainer = lightning.Trainer(max_epochs=4, callbacks=[checkpoint, Table()])
trainer.fit(
    Classifier(),
    DataLoader(TensorDataset(*points("train")), batch_size=16 // trainer.world_size, shuffle=True),
    DataLoader(TensorDataset(*points("validation")), batch_size=16),
    ckpt_path="last",
)

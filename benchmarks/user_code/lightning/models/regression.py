"""Regression, measured by R2 and the mean absolute error; the best weights are those of the highest R2."""

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanAbsoluteError, R2Score

from tests.own_models.parts import diabetes


class Regression(lightning.LightningModule):
    """A model, its loss and its optimizer."""

    def __init__(self):
        super().__init__()
        self.model = nn.Linear(10, 1)
        self.r2, self.mae = R2Score(), MeanAbsoluteError()

    def training_step(self, batch):
        inputs, targets = batch
        return mse_loss(self.model(inputs), targets)

    def validation_step(self, batch):
        inputs, targets = batch
        outputs = self.model(inputs)
        self.r2(outputs, targets)
        self.mae(outputs, targets)
        self.log("loss", mse_loss(outputs, targets), sync_dist=True)
        self.log_dict({"r2": self.r2, "mae": self.mae})

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.1)


lightning.seed_everything(0)
checkpoint = ModelCheckpoint("runs/regression", monitor="r2", mode="max", save_last=True)
trainer = lightning.Trainer(max_epochs=6, callbacks=checkpoint)
trainer.fit(
    Regression(),
    DataLoader(TensorDataset(*diabetes("train")), batch_size=32 // trainer.world_size, shuffle=True),
    DataLoader(TensorDataset(*diabetes("validation")), batch_size=32),
    ckpt_path="last",
)

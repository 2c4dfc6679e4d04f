"""Two groups of parameters: the backbone learns at a tenth of the rate of the head."""

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from tests.own_models.parts import Finetuned, points


class Classifier(lightning.LightningModule):
    """A model, its loss and its optimizer."""

    def __init__(self):
        super().__init__()
        self.model = Finetuned()

    def training_step(self, batch):
        inputs, targets = batch
        return cross_entropy(self.model(inputs), targets)

    def validation_step(self, batch):
        inputs, targets = batch
        scores = self.model(inputs)
        self.log("loss", cross_entropy(scores, targets), sync_dist=True)
        self.log("accuracy", (scores.argmax(1) == targets).float().mean(), sync_dist=True)

    def configure_optimizers(self):
        groups = [{"params": self.model.backbone.parameters(), "lr": 0.005}, {"params": self.model.head.parameters()}]
        return torch.optim.AdamW(groups, lr=0.05)


lightning.seed_everything(0)
checkpoint = ModelCheckpoint("runs/two_groups", monitor="accuracy", mode="max", save_last=True)
trainer = lightning.Trainer(max_epochs=4, callbacks=checkpoint)
trainer.fit(
    Classifier(),
    DataLoader(TensorDataset(*points("train")), batch_size=16 // trainer.world_size, shuffle=True),
    DataLoader(TensorDataset(*points("validation")), batch_size=16),
    ckpt_path="last",
)

"""Random transforms of images, which draw from torch, numpy and `random`."""

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from tests.own_models.parts import Compose, Flip, Noise, Pictures, Shift, pictures_net


class Classifier(lightning.LightningModule):
    """A model, its loss and its optimizer."""

    def __init__(self):
        super().__init__()
        self.model = pictures_net()

    def training_step(self, batch):
        inputs, targets = batch
        return cross_entropy(self.model(inputs), targets)

    def validation_step(self, batch):
        inputs, targets = batch
        scores = self.model(inputs)
        self.log("loss", cross_entropy(scores, targets), sync_dist=True)
        self.log("accuracy", (scores.argmax(1) == targets).float().mean(), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


pictures = Pictures("train", transform=Compose(Flip(), Shift(), Noise()))

lightning.seed_everything(0)
checkpoint = ModelCheckpoint("runs/transforms", monitor="accuracy", mode="max", save_last=True)
trainer = lightning.Trainer(max_epochs=4, callbacks=checkpoint)
trainer.fit(
    Classifier(),
    DataLoader(pictures, batch_size=32 // trainer.world_size, shuffle=True, num_workers=2),
    DataLoader(Pictures("validation"), batch_size=32, num_workers=2),
    ckpt_path="last",
)

"""BERT from its config, on sentences that a collator pads."""

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from tests.own_models.parts import Sentences, make_bert


class Classifier(lightning.LightningModule):
    """A model, its loss and its optimizer."""

    def __init__(self):
        super().__init__()
        self.model = make_bert()

    def training_step(self, batch):
        return self.model(**batch).loss

    def validation_step(self, batch):
        outputs = self.model(**batch)
        self.log("loss", outputs.loss, sync_dist=True)
        self.log("accuracy", (outputs.logits.argmax(1) == batch["labels"]).float().mean(), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


def pad(samples):
    ids = pad_sequence([sample["tokens"] for sample in samples], batch_first=True)
    labels = torch.tensor([sample["label"] for sample in samples])
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": labels}


lightning.seed_everything(0)
checkpoint = ModelCheckpoint("runs/bert", monitor="accuracy", mode="max", save_last=True)
trainer = lightning.Trainer(max_epochs=4, callbacks=checkpoint)
trainer.fit(
    Classifier(),
    DataLoader(Sentences("train"), batch_size=16 // trainer.world_size, shuffle=True, collate_fn=pad),
    DataLoader(Sentences("validation"), batch_size=16, collate_fn=pad),
    ckpt_path="last",
)

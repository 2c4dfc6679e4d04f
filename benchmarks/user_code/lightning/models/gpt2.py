"""GPT-2 from its config, with tied weights; the loss is a mean over the tokens that are no padding."""

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from tests.own_models.parts import Sentences, make_gpt2


class LanguageModel(lightning.LightningModule):
    """A model, its loss and its optimizer."""

    def __init__(self):
        super().__init__()
        self.model = make_gpt2()

    def training_step(self, batch):
        return self.model(**batch).loss

    def validation_step(self, batch):
        tokens = (batch["labels"][:, 1:] != -100).sum()
        self.log("loss", self.model(**batch).loss, batch_size=tokens, sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


def pad(samples):
    tokens = [sample["tokens"] for sample in samples]
    ids = pad_sequence(tokens, batch_first=True)
    return {"input_ids": ids, "labels": pad_sequence(tokens, batch_first=True, padding_value=-100)}


lightning.seed_everything(0)
checkpoint = ModelCheckpoint("runs/gpt2", monitor="loss", mode="min", save_last=True)
trainer = lightning.Trainer(max_epochs=4, callbacks=checkpoint)
trainer.fit(
    LanguageModel(),
    DataLoader(Sentences("train"), batch_size=16 // trainer.world_size, shuffle=True, collate_fn=pad),
    DataLoader(Sentences("validation"), batch_size=16, collate_fn=pad),
    ckpt_path="last",
)

"""GPT-2 from its config, with tied weights; the loss is a mean over the tokens that are no padding."""

from pathlib import Path

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import set_seed
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from tests.own_models.parts import Sentences, make_gpt2


class Progress:
    """What is saved beside weights and optimizer."""

    epoch, best = 0, float("inf")

    def state_dict(self):
        return vars(self)

    def load_state_dict(self, state):
        vars(self).update(state)


def pad(samples):
    tokens = [sample["tokens"] for sample in samples]
    ids = pad_sequence(tokens, batch_first=True)
    return {"input_ids": ids, "labels": pad_sequence(tokens, batch_first=True, padding_value=-100)}


def token_losses(batch):
    tokens = (batch["labels"][:, 1:] != -100).sum()
    return torch.stack([model(**batch).loss * tokens, tokens])[None]


folder = Path("runs/gpt2")
accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(split_batches=True))
set_seed(0)
model, progress = make_gpt2(), Progress()
model, optimizer, train_loader, validation_loader = accelerator.prepare(
    model,
    torch.optim.AdamW(model.parameters(), lr=0.01),
    DataLoader(Sentences("train"), batch_size=16, shuffle=True, collate_fn=pad),
    DataLoader(Sentences("validation"), batch_size=16, collate_fn=pad),
)
accelerator.register_for_checkpointing(progress)
if (folder / "last").exists():
    accelerator.load_state(folder / "last")
for epoch in range(progress.epoch, 4):
    model.train()
    for batch in train_loader:
        optimizer.zero_grad()
        accelerator.backward(model(**batch).loss)
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        rows = [accelerator.gather_for_metrics(token_losses(batch)) for batch in validation_loader]
    total, tokens = torch.cat(rows).sum(dim=0)
    loss = (total / tokens).item()
    accelerator.print(f"epoch {epoch + 1}: loss {loss:.4f}")
    if loss < progress.best:
        progress.best = loss
        accelerator.save_model(model, folder / "best")
    progress.epoch = epoch + 1
    accelerator.save_state(folder / "last")

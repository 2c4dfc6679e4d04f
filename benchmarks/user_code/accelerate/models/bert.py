"""BERT from its config, on sentences that a collator pads."""

from pathlib import Path

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import set_seed
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from tests.own_models.parts import Sentences, make_bert


class Progress:
    """What is saved beside weights and optimizer."""

    epoch, best = 0, 0.0

    def state_dict(self):
        return vars(self)

    def load_state_dict(self, state):
        vars(self).update(state)


def pad(samples):
    ids = pad_sequence([sample["tokens"] for sample in samples], batch_first=True)
    labels = torch.tensor([sample["label"] for sample in samples])
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": labels}


folder = Path("runs/bert")
accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(split_batches=True))
set_seed(0)
model, progress = make_bert(), Progress()
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
        rows = [accelerator.gather_for_metrics((model(**batch).logits, batch["labels"])) for batch in validation_loader]
    scores, targets = (torch.cat(parts) for parts in zip(*rows, strict=True))
    loss, accuracy = cross_entropy(scores, targets).item(), (scores.argmax(1) == targets).float().mean().item()
    accelerator.print(f"epoch {epoch + 1}: loss {loss:.4f}, accuracy {accuracy:.4f}")
    if accuracy > progress.best:
        progress.best = accuracy
        accelerator.save_model(model, folder / "best")
    progress.epoch = epoch + 1
    accelerator.save_state(folder / "last")

"""A generator of samples, which is read once."""

from pathlib import Path

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import set_seed
from datasets import Dataset
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from tests.own_models.parts import points, points_net


class Progress:
    """What is saved beside weights and optimizer."""

    epoch, best = 0, 0.0

    def state_dict(self):
        return vars(self)

    def load_state_dict(self, state):
        vars(self).update(state)


def samples():
    for inputs, label in zip(*points("train"), strict=True):
        yield {"inputs": inputs, "labels": label}


folder = Path("runs/stream")
accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(split_batches=True))
set_seed(0)
model, progress = points_net(), Progress()
model, optimizer, train_loader, validation_loader = accelerator.prepare(
    model,
    torch.optim.AdamW(model.parameters(), lr=0.02),
    DataLoader(Dataset.from_generator(samples).with_format("torch"), batch_size=16, shuffle=True),
    DataLoader(TensorDataset(*points("validation")), batch_size=16),
)
accelerator.register_for_checkpointing(progress)
if (folder / "last").exists():
    accelerator.load_state(folder / "last")
for epoch in range(progress.epoch, 4):
    model.train()
    for batch in train_loader:
        optimizer.zero_grad()
        accelerator.backward(cross_entropy(model(batch["inputs"]), batch["labels"]))
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        rows = [accelerator.gather_for_metrics((model(inputs), targets)) for inputs, targets in validation_loader]
    scores, targets = (torch.cat(parts) for parts in zip(*rows, strict=True))
    loss, accuracy = cross_entropy(scores, targets).item(), (scores.argmax(1) == targets).float().mean().item()
    accelerator.print(f"epoch {epoch + 1}: loss {loss:.4f}, accuracy {accuracy:.4f}")
    if accuracy > progress.best:
        progress.best = accuracy
        accelerator.save_model(model, folder / "best")
    progress.epoch = epoch + 1
    accelerator.save_state(folder / "last")

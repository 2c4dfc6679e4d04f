"""An observer of one's own, which keeps a table of the losses."""

from pathlib import Path

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import set_seed
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


folder = Path("runs/observer")
accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(split_batches=True))
set_seed(0)
model, progress = points_net(), Progress()
model, optimizer, train_loader, validation_loader = accelerator.prepare(
    model,
    torch.optim.AdamW(model.parameters(), lr=0.02),
    DataLoader(TensorDataset(*points("train")), batch_size=16, shuffle=True),
    DataLoader(TensorDataset(*points("validation")), batch_size=16),
)
accelerator.register_for_checkpointing(progress)
if (folder / "last").exists():
    accelerator.load_state(folder / "last")
for epoch in range(progress.epoch, 4):
    train_losses = []
    model.train()
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs), targets)
        accelerator.backward(loss)
        train_losses.append(loss.detach())
        optimizer.step()
    train_loss = accelerator.reduce(torch.stack(train_losses).mean(), "mean").item()
    model.eval()
    with torch.inference_mode():
        rows = [accelerator.gather_for_metrics((model(inputs), targets)) for inputs, targets in validation_loader]
    scores, targets = (torch.cat(parts) for parts in zip(*rows, strict=True))
    loss, accuracy = cross_entropy(scores, targets).item(), (scores.argmax(1) == targets).float().mean().item()
    accelerator.print(f"epoch {epoch + 1}: loss {loss:.4f}, accuracy {accuracy:.4f}")
    if accuracy > progress.best:
        progress.best = accuracy
        accelerator.save_model(model, folder / "best")
    if accelerator.is_main_process:
        with Path("losses.csv").open("a") as file:
            print(epoch, train_loss, loss, sep=",", file=file)
    progress.epoch = epoch + 1
    accelerator.save_state(folder / "last")

"""Regression, measured by R2 and the mean absolute error; the best weights are those of the highest R2."""

from pathlib import Path

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import set_seed
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.functional import mean_absolute_error, r2_score

from tests.own_models.parts import diabetes


class Progress:
    """What is saved beside weights and optimizer."""

    epoch, best = 0, float("-inf")

    def state_dict(self):
        return vars(self)

    def load_state_dict(self, state):
        vars(self).update(state)


folder = Path("runs/regression")
accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(split_batches=True))
set_seed(0)
model, progress = nn.Linear(10, 1), Progress()
model, optimizer, train_loader, validation_loader = accelerator.prepare(
    model,
    torch.optim.AdamW(model.parameters(), lr=0.1),
    DataLoader(TensorDataset(*diabetes("train")), batch_size=32, shuffle=True),
    DataLoader(TensorDataset(*diabetes("validation")), batch_size=32),
)
accelerator.register_for_checkpointing(progress)
if (folder / "last").exists():
    accelerator.load_state(folder / "last")
for epoch in range(progress.epoch, 6):
    model.train()
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        accelerator.backward(mse_loss(model(inputs), targets))
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        rows = [accelerator.gather_for_metrics((model(inputs), targets)) for inputs, targets in validation_loader]
    outputs, targets = (torch.cat(parts) for parts in zip(*rows, strict=True))
    measures = {"loss": mse_loss, "r2": r2_score, "mae": mean_absolute_error}
    metrics = {name: measure(outputs, targets).item() for name, measure in measures.items()}
    accelerator.print(f"epoch {epoch + 1}: {metrics}")
    if metrics["r2"] > progress.best:
        progress.best = metrics["r2"]
        accelerator.save_model(model, folder / "best")
    progress.epoch = epoch + 1
    accelerator.save_state(folder / "last")

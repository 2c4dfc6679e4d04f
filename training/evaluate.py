"""Evaluation: every sample once, whatever the number of processes, results gathered by sample index."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from training.collectives import Ranks
from training.loader import Loader
from training.share import micro_batches, share
from training.tasks.task import Task


def evaluate(
    task: Task,
    model: nn.Module,
    loader: Loader,
    split: str,
    *,
    ranks: Ranks,
    share_weights: tuple[float, ...],
    micro_batch_size: int,
) -> dict[str, Any]:
    """Return the task's metrics on a split, the same on every rank; empty where the split is.

    Each rank fills the rows of its own samples in a table of zeros, and the tables are summed: adding zero is exact, so no
    sample is counted twice and none is padded.
    """
    count = task.num_samples(split)
    if count == 0:
        return {}
    costs = task.costs(split)
    indices = np.arange(count) if costs is None else np.argsort(-costs, kind="stable")
    mine = indices[share(count, ranks.rank, share_weights)]
    was_training = model.training
    model.eval()
    table: torch.Tensor | None = None
    try:
        with torch.no_grad():
            for part in micro_batches(len(mine), micro_batch_size):
                batch = loader.evaluation_batch(split, mine[part])
                rows = task.measure(task.forward(model, batch), batch)
                if table is None:
                    table = torch.zeros(count, rows.shape[1], dtype=rows.dtype, device=ranks.device)
                table[batch.indices.to(ranks.device)] = rows
            if table is None:
                # This rank has no sample; one is measured for the shape of its row and not counted.
                batch = loader.evaluation_batch(split, indices[:1])
                rows = task.measure(task.forward(model, batch), batch)
                table = torch.zeros(count, rows.shape[1], dtype=rows.dtype, device=ranks.device)
    finally:
        model.train(was_training)
    return task.metrics(ranks.sum_(table).cpu().numpy(), split)

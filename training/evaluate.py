"""Evaluation: every sample once, whatever the number of processes, results gathered by sample index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from training.collectives import Ranks
from training.errors import UserError
from training.loader import Loader
from training.memory import is_out_of_memory, release_memory
from training.share import share
from training.tasks.task import Task


def evaluate(
    task: Task,
    model: nn.Module,
    loader: Loader,
    split: str,
    *,
    ranks: Ranks,
    share_weights: tuple[float, ...],
    batch_size: int,
    on_batch: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Any], int]:
    """Return the task's metrics on a split, the same on every rank, empty where the split is; and the batch that fitted.

    Each rank fills the rows of its own samples in a table of zeros, and the tables are summed: adding zero is exact, so no
    sample is counted twice and none is padded. A rank that runs out of memory goes on with half the batch, by itself.
    Raises `UserError` on every rank where a single sample does not fit.
    """
    count = task.num_samples(split)
    if count == 0:
        return {}, batch_size
    costs = task.costs(split)
    indices = np.arange(count) if costs is None else np.argsort(-costs, kind="stable")
    mine = indices[share(count, ranks.rank, share_weights)]
    was_training = model.training
    model.eval()
    table: torch.Tensor | None = None
    error: UserError | None = None
    # A rank without samples measures one for the shape of its row, and does not count it.
    chosen = mine if len(mine) else indices[:1]
    done = 0
    try:
        while done < len(chosen) and error is None:
            part = chosen[done : done + batch_size]
            try:
                rows = _measure(task, model, loader, split, part)
            except Exception as caught:
                if not is_out_of_memory(caught):
                    raise
                caught.__traceback__ = None  # it holds the tensors of the pass
                release_memory(ranks.device)
                batch_size = len(part) // 2
                if batch_size == 0:
                    batch_size = 1
                    error = UserError(
                        f"sample {part[0]} of the {split} split does not fit in memory by itself on rank {ranks.rank}: {caught}"
                    )
                continue
            if table is None:
                table = torch.zeros(count, rows.shape[1], dtype=rows.dtype, device=ranks.device)
            if len(mine):
                table[torch.from_numpy(part).to(ranks.device)] = rows
            done += len(part)
            on_batch()
    finally:
        model.train(was_training)
    ranks.agree_on_error(error)
    assert table is not None
    return task.metrics(ranks.sum_(table).cpu().numpy(), split), batch_size


def _measure(task: Task, model: nn.Module, loader: Loader, split: str, indices: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        batch = loader.evaluation_batch(split, indices)
        return task.measure(task.forward(model, batch), batch)

"""Evaluation: every sample once, whatever the number of processes, results gathered by sample index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ..batches.loader import Loader
from ..batches.share import rank_positions
from ..common.apportion import apportion
from ..common.errors import UserError
from ..devices.memory import CANNOT_TRY_AGAIN, drop_traceback, out_of_memory_message, release_memory
from ..devices.ranks import Ranks
from ..observers.events import Decision, Observer
from ..step.compilation import Forward
from ..tasks.task import Task

_SILENT = Observer()


class _Measured(NamedTuple):
    """What a rank measured."""

    table: torch.Tensor | None
    """A row for each sample of the split, zero for those of other ranks, and one more; none where nothing fitted."""
    batch_size: int
    """What fitted."""
    failures: int
    """How often memory ran out."""
    error: UserError | None
    """A single sample did not fit."""


def evaluate(
    task: Task,
    model: nn.Module,
    loader: Loader,
    split: str,
    *,
    ranks: Ranks,
    share_weights: tuple[float, ...],
    batch_size: int,
    forward: Forward | None = None,
    equal_passes: bool = False,
    on_batch: Callable[[], None] = lambda: None,
    observer: Observer = _SILENT,
) -> tuple[dict[str, Any], int]:
    """Return the task's metrics on a split, the same on every rank, empty where the split is; and the batch that fitted.

    Each rank fills the rows of its own samples in a table of zeros, and the tables are summed: adding zero is exact, so no
    sample is counted twice and none is padded. A rank that runs out of memory goes on with half the batch, by itself, and
    the observer is told at the end. Raises `UserError` on every rank where a single sample does not fit.

    `forward` stands for the task's own, such as a compiled one. With `equal_passes`, as sharded parameters need it, all
    ranks do equally many passes, and where memory runs out it raises.
    """
    count = task.num_samples(split)
    if count == 0:
        return {}, batch_size
    costs = task.costs(split)
    indices = np.arange(count) if costs is None else np.argsort(-costs, kind="stable")
    mine = indices[rank_positions(count, ranks.rank, share_weights)]
    was_training = model.training
    model.eval()
    try:
        # A rank without samples measures one for the shape of its row.
        measured = _measure(
            task,
            model,
            loader,
            split,
            mine if len(mine) else indices[:1],
            forward=forward or task.forward,
            ranks=ranks,
            batch_size=batch_size,
            passes=-(-max(apportion(count, share_weights)) // batch_size) if equal_passes else None,
            on_batch=on_batch,
        )
    finally:
        model.train(was_training)
    ranks.raise_on_all_ranks(measured.error)
    table = measured.table
    assert table is not None
    if len(mine) == 0:
        table.zero_()
    table[count, 0] = measured.failures
    rows = ranks.sum_(table).cpu().numpy()
    failures = int(rows[count, 0])
    if failures:
        reason = f"out of memory {failures} times in the evaluation of the {split} split: the same samples in smaller batches"
        fields = {"split": split, "failures": failures, "evaluation_batch_size": measured.batch_size}
        observer.on_decision(Decision(kind="out_of_memory", reason=reason, warning=True, fields=fields))
    return task.metrics(rows[:count], split), measured.batch_size


def _measure(
    task: Task,
    model: nn.Module,
    loader: Loader,
    split: str,
    samples: np.ndarray,
    *,
    forward: Forward,
    ranks: Ranks,
    batch_size: int,
    passes: int | None,
    on_batch: Callable[[], None],
) -> _Measured:
    table: torch.Tensor | None = None
    done = failures = 0
    if passes is not None:
        # The last is measured again by ranks that have fewer: the same rows.
        samples = np.concatenate(
            [samples, np.repeat(samples[-1:], max(0, (passes - 1) * batch_size + 1 - len(samples)))]
        )
    while done < len(samples):
        part = samples[done : done + batch_size]
        message = None
        try:
            with torch.no_grad():
                rows = _measure_part(task, model, loader, split, part, forward)
                if table is None:
                    shape = (task.num_samples(split) + 1, rows.shape[1])
                    table = torch.zeros(shape, dtype=rows.dtype, device=ranks.device)
                table[torch.from_numpy(part).to(ranks.device)] = rows
        except Exception as caught:
            message = out_of_memory_message(caught)
            if message is None:
                raise
            drop_traceback(caught)
            if passes is not None:
                where = f"in the evaluation of the {split} split on rank {ranks.rank}"
                raise UserError(f"memory ran out {where} ({message}): {CANNOT_TRY_AGAIN}") from None
        if message is None:
            done += len(part)
            on_batch()
            continue
        release_memory(ranks.device)
        failures += 1
        if len(part) == 1:
            error = UserError(
                f"sample {part[0]} of the {split} split does not fit in memory by itself on rank {ranks.rank} ({message}): try "
                "shorter or cropped samples, a smaller model, or a device with more memory"
            )
            return _Measured(table, 1, failures, error)
        batch_size = len(part) // 2
    return _Measured(table, batch_size, failures, None)


def _measure_part(
    task: Task, model: nn.Module, loader: Loader, split: str, samples: np.ndarray, forward: Forward
) -> torch.Tensor:
    batch = loader.evaluation_batch(split, samples)
    return task.measure(forward(model, batch), batch)

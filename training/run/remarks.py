"""What is worth saying of a run before its first step: too little data for so many processes, batch statistics."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from ..observers.events import Decision

_FEW_STEPS = 10
"""Steps an epoch below which several processes are called a poor bargain."""


def remarks(model: nn.Module, *, num_samples: int, num_steps: int, num_processes: int) -> Iterator[Decision]:
    """Yield warnings about a model and its training split, `num_steps` optimizer steps an epoch."""
    if num_processes > 1 and num_steps < _FEW_STEPS:
        yield Decision(
            kind="small_data",
            reason=(
                f"{num_samples} training samples over {num_processes} processes are {num_steps} steps an epoch and "
                f"{num_samples // num_processes} samples a process: more processes gain little here"
            ),
            warning=True,
            fields={
                "samples": num_samples,
                "steps_per_epoch": num_steps,
                "samples_per_process": num_samples // num_processes,
            },
        )
    if any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        yield Decision(
            kind="batch_statistics",
            reason=(
                "the model normalises over its batch: results depend on processes and micro-batches, and rank 0's "
                "running statistics are evaluated; layer or group normalisation would keep them exact"
            ),
            warning=True,
            fields={},
        )

"""What is trained in hostile places: samples that processes read, and a gate where every rank waits until the fault is made."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from slipway import Batch, DatasetTask
from slipway.nn import Dropout
from slipway.training.config.recipe import Stage

NUM_TRAINING_SAMPLES, BATCH_SIZE, MICRO_BATCH_SIZE, EPOCHS, SAVE_STEPS = 96, 24, 6, 8, 2
GATE_STEP = 7
"""In which the ranks wait: after a save, in the middle of an epoch."""
_WIDTH = 12_288
"""Numbers of a sample: a micro-batch is large enough to be handed over in shared memory."""
_PASS_SECONDS = 0.03
"""A pass takes at least so long, so that the run looks after its folder a few times behind the gate."""
_POLL_SECONDS = 0.01


class Waves(Dataset[tuple[torch.Tensor, int]]):
    """Samples that are made when they are read; each follows from its number."""

    def __init__(self, size: int, first: int) -> None:
        self._size, self._first = size, first
        self._places = torch.arange(_WIDTH) / _WIDTH

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        number = self._first + index
        label = number % 3
        noise = torch.sin(self._places * (1000.0 + 37.0 * number))
        return torch.sin(self._places * (10.0 + 5.0 * label)) + noise, label


def _model() -> nn.Module:
    return nn.Sequential(nn.Linear(_WIDTH, 16), nn.Tanh(), Dropout(0.2), nn.Linear(16, 3))


class GatedTask(DatasetTask):
    """Waits in the last pass of a step, where `FAULTS_GATE` names the file that opens the gate."""

    _num_passes = 0

    def begin_stage(self, model: nn.Module, stage: Stage) -> None:
        super().begin_stage(model, stage)
        self._num_passes = 0  # those of the rehearsal do not count

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        if batch.keys is not None:
            self._num_passes += 1
            time.sleep(_PASS_SECONDS)
            world_size, rank = (
                int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", "1"), ("RANK", "0"))
            )
            gate, passes_a_step = os.environ.get("FAULTS_GATE"), BATCH_SIZE // (MICRO_BATCH_SIZE * world_size)
            if gate and self._num_passes == 2 * SAVE_STEPS * passes_a_step:
                # The first checkpoint is there then, so that the next one is written behind this step, on a slow disk too.
                while not any(Path("runs/run/checkpoints").glob("[0-9]*")):
                    time.sleep(_POLL_SECONDS)
            if gate and self._num_passes == GATE_STEP * passes_a_step:
                Path(f"{gate}.{rank}").write_text(str(os.getpid()), encoding="utf-8")
                while not Path(gate).exists():
                    time.sleep(_POLL_SECONDS)
        return super().forward(model, batch)


def make_task() -> DatasetTask:
    """Return the task."""
    splits = {"train": (NUM_TRAINING_SAMPLES, 0), "validation": (24, 1000), "test": (24, 2000)}
    return GatedTask(_model, **{name: Waves(*which) for name, which in splits.items()}, name="waves")

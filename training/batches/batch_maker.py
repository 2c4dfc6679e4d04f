"""From sample indices to batches: fetch, augment, convert and pin on the host, then move to the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..common.keyed_random import sample_keys
from ..config.recipe import Stage
from ..tasks.task import Batch, Task


class BatchMaker:
    """Makes the batches of a task; each batch is a function of its indices, the epoch and the stage."""

    def __init__(
        self, task: Task, *, seed: int, dtype: torch.dtype, device: torch.device, channels_last: bool = False
    ) -> None:
        self._task = task
        self._num_samples = task.num_samples("train")
        self._seed = seed
        self._dtype = dtype
        self._device = device
        self._channels_last = channels_last
        self._pins = device.type in ("cuda", "xpu")

    @property
    def can_split_batches(self) -> bool:
        """Whether several micro-batches can be made in one call, as the task says."""
        return self._task.can_split_batches

    def make_training(self, parts: Sequence[np.ndarray], epoch: int, stage: Stage) -> list[Batch]:
        """Return a training batch on the host for each part, int64 [samples], fetched and augmented in one call.

        A part holds what an `Order` draws: a sample that is drawn again in an epoch gets another key. Several parts only
        where `can_split_batches`.
        """
        draws = parts[0] if len(parts) == 1 else np.concatenate(parts)
        chosen = torch.from_numpy(draws % self._num_samples)
        keys = sample_keys(self._seed, epoch, draws)
        tensors = self._task.augment(self._task.fetch_training(chosen, keys), keys, stage)
        if len(parts) == 1:
            return [self._finish(Batch(chosen, keys, tensors))]
        sizes = [len(part) for part in parts]
        split = zip(chosen.split(sizes), keys.split(sizes), self._task.split_batch(tensors, sizes), strict=True)
        return [self._finish(Batch(*of_part)) for of_part in split]

    def make_evaluation(self, split: str, indices: np.ndarray) -> Batch:
        """Return the samples of a split at `indices`, int64 [samples], on the host, as they are evaluated."""
        chosen = torch.from_numpy(indices)
        return self._finish(Batch(chosen, None, self._task.fetch(split, chosen)))

    def move(self, batch: Batch) -> Batch:
        """Return a batch on the device, in the memory format of the plan."""
        batch = batch if self._device.type == "cpu" else batch.to(self._device)
        return batch.channels_last() if self._channels_last else batch

    def _finish(self, batch: Batch) -> Batch:
        for name, tensor in batch.tensors.items():
            if tensor.is_floating_point() and tensor.dtype != self._dtype:
                batch.tensors[name] = tensor.to(self._dtype)
        return batch.pin() if self._pins else batch

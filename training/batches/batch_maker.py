"""From sample indices to batches: fetch, augment, convert and pin on the host, then move to the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..common.keyed_random import fold, sample_keys
from ..config.recipe import Stage
from ..tasks.samples.random_state import (
    generator_states,
    kept_generators,
    seed_generators,
    set_generators,
)
from ..tasks.task import Batch, Task

_TRAINING_STREAM, _EVALUATION_STREAM = 0xD4A1, 0xD4A2


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
        self.draws = False
        """Whether the task draws training samples from the generators of the process, which are then set for each batch."""
        self._drawing_splits: dict[str, bool] = {}

    @property
    def can_split_batches(self) -> bool:
        """Whether several micro-batches can be made in one call, as the task says."""
        return self._task.can_split_batches and not self.draws

    def try_out(self, stage: Stage) -> bool:
        """See whether the task draws from the generators of the process; return whether it makes the same batch twice.

        Called before threads make batches: they share the generators with the thread that trains.
        """
        few, before = np.arange(min(2, self._num_samples)), generator_states()
        first = self.make_training([few], 0, stage)
        self.draws = before != generator_states()
        if self.draws:
            set_generators(before)
            first = self.make_training([few], 0, stage)
        return _are_same(first, self.make_training([few], 0, stage))

    def make_training(self, parts: Sequence[np.ndarray], epoch: int, stage: Stage) -> list[Batch]:
        """Return a training batch on the host for each part, int64 [samples], fetched and augmented in one call.

        A part holds what an `Order` draws: a sample that is drawn again in an epoch gets another key. Several parts only
        where `can_split_batches`.
        """
        draws = parts[0] if len(parts) == 1 else np.concatenate(parts)
        chosen = torch.from_numpy(draws % self._num_samples)
        keys = sample_keys(self._seed, epoch, draws)
        tensors = self._augmented(chosen, keys, stage)
        if len(parts) == 1:
            return [self._finish(Batch(chosen, keys, tensors))]
        sizes = [len(part) for part in parts]
        split = zip(chosen.split(sizes), keys.split(sizes), self._task.split_batch(tensors, sizes), strict=True)
        return [self._finish(Batch(*of_part)) for of_part in split]

    def _augmented(self, chosen: torch.Tensor, keys: torch.Tensor, stage: Stage) -> dict[str, torch.Tensor]:
        if not self.draws:
            return self._task.augment(self._task.fetch_training(chosen, keys), keys, stage)
        with kept_generators():
            seed_generators(fold(int(keys[0]), _TRAINING_STREAM))
            return self._task.augment(self._task.fetch_training(chosen, keys), keys, stage)

    def make_evaluation(self, split: str, indices: np.ndarray) -> Batch:
        """Return the samples of a split at `indices`, int64 [samples], on the host, as they are evaluated."""
        chosen = torch.from_numpy(indices)
        return self._finish(Batch(chosen, None, self._fetch_to_evaluate(split, chosen)))

    def can_evaluate_ahead(self, split: str) -> bool:
        """Return whether threads may make batches to evaluate: a first one was made, and drew nothing that they would share."""
        return self._drawing_splits.get(split) is False

    def _fetch_to_evaluate(self, split: str, chosen: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return samples of a split; what they draw, if the first of them drew, is the same each time."""
        if split not in self._drawing_splits:
            before = generator_states()
            tensors = self._task.fetch(split, chosen)
            self._drawing_splits[split] = before != generator_states()
            if not self._drawing_splits[split]:
                return tensors
            set_generators(before)
        elif not self._drawing_splits[split]:
            return self._task.fetch(split, chosen)
        with kept_generators():
            seed_generators(fold(_EVALUATION_STREAM, int(chosen[0])))
            return self._task.fetch(split, chosen)

    def move(self, batch: Batch) -> Batch:
        """Return a batch on the device, in the memory format of the plan."""
        batch = batch if self._device.type == "cpu" else batch.to(self._device)
        return batch.channels_last() if self._channels_last else batch

    def _finish(self, batch: Batch) -> Batch:
        for name, tensor in batch.tensors.items():
            if tensor.is_floating_point() and tensor.dtype != self._dtype:
                batch.tensors[name] = tensor.to(self._dtype)
        return batch.pin() if self._pins else batch


def _are_same(first: Sequence[Batch], second: Sequence[Batch]) -> bool:
    """Return whether two lists of batches hold the same numbers; where one is none, so must the other be."""
    return all(
        one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())
        for batch, again in zip(first, second, strict=True)
        for one, other in zip(batch.tensors.values(), again.tensors.values(), strict=True)
    )

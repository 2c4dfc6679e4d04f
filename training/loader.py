"""From sample indices to batches on the device: one vectorised call for each micro-batch, some of them ahead in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from training.keyed import sample_keys
from training.order import BatchReader, Order
from training.recipe import Stage
from training.share import micro_batches, share, share_counts
from training.tasks.task import Batch, Task


@dataclass(frozen=True, slots=True)
class StepWork:
    """What one optimizer step computes."""

    step_in_epoch: int
    micro_batches: list[np.ndarray]
    """Sample indices of this rank, one array for each micro-batch."""
    global_batch: np.ndarray
    """Sample indices of all ranks, longest first."""
    samples_per_rank: list[int]


class EpochSampler:
    """Which samples this rank computes in each step of an epoch: pure functions of the recipe and the plan."""

    def __init__(
        self,
        *,
        seed: int,
        num_samples: int,
        costs: np.ndarray | None,
        global_batch_size: int,
        rank: int,
        share_weights: tuple[float, ...],
        micro_batch_size: int,
    ) -> None:
        order = Order(seed=seed, num_samples=num_samples)
        self.num_steps = order.num_steps(global_batch_size)
        self._reader = BatchReader(order, global_batch_size)
        self._costs = costs
        self._rank = rank
        self._share_weights = share_weights
        self.micro_batch_size = micro_batch_size
        """The most samples in one forward pass; it may change between two calls of `epoch`."""
        self._counts: dict[int, list[int]] = {}

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[StepWork]:
        """Yield the work of each step from `first_step` on."""
        for step in range(first_step, self.num_steps):
            batch = self.global_batch(epoch, step)
            mine = batch[share(len(batch), self._rank, self._share_weights)]
            parts = [mine[part] for part in micro_batches(len(mine), self.micro_batch_size)]
            yield StepWork(step, parts, batch, self._samples_per_rank(len(batch)))

    def global_batch(self, epoch: int, step: int) -> np.ndarray:
        """Return the sample indices of a global batch, longest first."""
        batch = self._reader.batch(epoch, step)
        if self._costs is None:
            return batch
        # By length, so that a micro-batch pads little; the longest first, so that a lack of memory shows early.
        return batch[np.argsort(-self._costs[batch], kind="stable")]

    def _samples_per_rank(self, num_samples: int) -> list[int]:
        if num_samples not in self._counts:
            self._counts[num_samples] = share_counts(num_samples, self._share_weights).tolist()
        return self._counts[num_samples]


class Loader:
    """Fetches, augments and moves the batches of a task."""

    def __init__(
        self, task: Task, *, seed: int, dtype: torch.dtype, device: torch.device, num_workers: int = 0
    ) -> None:
        self._task = task
        self._seed = seed
        self._dtype = dtype
        self._device = device
        self._pins = device.type in ("cuda", "xpu")
        self._lookahead = num_workers + 1
        self._pool = ThreadPoolExecutor(num_workers, thread_name_prefix="loader") if num_workers else None

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def training_batch(self, indices: np.ndarray, epoch: int, stage: Stage) -> Batch:
        """Return samples of the training split as they are trained on in an epoch, on the device."""
        return self._on_device(self._training_batch(indices, epoch, stage))

    def evaluation_batch(self, split: str, indices: np.ndarray) -> Batch:
        """Return samples as they are evaluated, on the device."""
        chosen = torch.from_numpy(indices)
        return self._on_device(self._finish(Batch(chosen, None, self._task.fetch(split, chosen))))

    def steps(self, works: Iterable[StepWork], epoch: int, stage: Stage) -> Iterator[tuple[StepWork, Iterator[Batch]]]:
        """Yield each step's work with an iterator over its batches; with workers, the next steps are prepared meanwhile."""

        def prepare(indices: np.ndarray) -> Batch:
            return self._training_batch(indices, epoch, stage)

        if self._pool is None:
            for work in works:
                yield work, (self._on_device(prepare(part)) for part in work.micro_batches)
            return
        ahead: deque[tuple[StepWork, list[Future[Batch]]]] = deque()
        try:
            for work in works:
                ahead.append((work, [self._submit(prepare, part) for part in work.micro_batches]))
                if len(ahead) > self._lookahead:
                    yield self._ready(*ahead.popleft())
            while ahead:
                yield self._ready(*ahead.popleft())
        finally:
            # Where the steps are cut anew nobody waits for these.
            for _, futures in ahead:
                for future in futures:
                    future.cancel()

    def _submit(self, prepare: Callable[[np.ndarray], Batch], indices: np.ndarray) -> Future[Batch]:
        assert self._pool is not None
        return self._pool.submit(prepare, indices)

    def _ready(self, work: StepWork, futures: list[Future[Batch]]) -> tuple[StepWork, Iterator[Batch]]:
        return work, (self._on_device(future.result()) for future in futures)

    def _training_batch(self, indices: np.ndarray, epoch: int, stage: Stage) -> Batch:
        chosen = torch.from_numpy(indices)
        keys = sample_keys(self._seed, epoch, indices)
        tensors = self._task.augment(self._task.fetch("train", chosen), keys, stage)
        return self._finish(Batch(chosen, keys, tensors))

    def _finish(self, batch: Batch) -> Batch:
        for name, tensor in batch.tensors.items():
            if tensor.is_floating_point() and tensor.dtype != self._dtype:
                batch.tensors[name] = tensor.to(self._dtype)
        return batch.pin() if self._pins else batch

    def _on_device(self, batch: Batch) -> Batch:
        return batch if self._device.type == "cpu" else batch.to(self._device)

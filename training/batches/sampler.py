"""Which samples this rank computes in each step of an epoch: a pure function of the recipe and the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..common.apportion import apportion
from .order import BatchReader, Order
from .share import micro_batches, rank_positions, split_evenly


@dataclass(frozen=True, slots=True)
class StepWork:
    """What one optimizer step computes."""

    step_in_epoch: int
    micro_batches: list[np.ndarray]
    """What this rank draws (see `Order`), one array for each micro-batch."""
    global_batch: np.ndarray
    """Sample indices of all ranks, longest first."""
    samples_per_rank: list[int]
    micro_batch_size: int
    """The most samples in a micro-batch, of any rank: what the limit was when the step was split."""
    num_padding: int = 0
    """How many of the last micro-batches only make this rank's passes as many as the others'; they have weight 0."""


class EpochSampler:
    """Draws the samples of each step of an epoch and splits this rank's share into micro-batches."""

    def __init__(
        self,
        *,
        order: Order,
        costs: np.ndarray | None,
        global_batch_size: int,
        rank: int,
        share_weights: tuple[float, ...],
        micro_batch_size: Callable[[], int],
        equal_passes: bool = False,
    ) -> None:
        self.num_steps = order.num_steps(global_batch_size)
        self._reader = BatchReader(order, global_batch_size)
        self._num_samples = order.num_samples
        self._costs = costs
        self._rank = rank
        self._share_weights = share_weights
        self._equal_passes = equal_passes
        """Whether all ranks do equally many passes, as they must where parameters are sharded."""
        self._micro_batch_size = micro_batch_size
        """Returns the most samples in one forward pass, which may change between two calls of `epoch`."""
        self._counts: dict[int, list[int]] = {}

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[StepWork]:
        """Yield the work of each step from `first_step` on, in micro-batches of the size that is allowed at the first."""
        size = self._micro_batch_size()
        for step in range(first_step, self.num_steps):
            draws = self._draw(epoch, step)
            batch = draws % self._num_samples
            mine = draws[rank_positions(len(batch), self._rank, self._share_weights)]
            counts = self._samples_per_rank(len(batch))
            if not self._equal_passes:
                parts = [mine[part] for part in micro_batches(len(mine), size)]
                yield StepWork(step, parts, batch, counts, size)
                continue
            passes = -(-max(counts) // size)
            parts = [mine[part] for part in split_evenly(len(mine), min(passes, len(mine)))] if len(mine) else []
            padding = passes - len(parts)
            yield StepWork(step, parts + padding * [draws[-1:]], batch, counts, size, padding)

    def global_batch(self, epoch: int, step: int) -> np.ndarray:
        """Return the sample indices of a global batch, longest first."""
        return self._draw(epoch, step) % self._num_samples

    def _draw(self, epoch: int, step: int) -> np.ndarray:
        draws = self._reader.batch(epoch, step)
        if self._costs is None:
            return draws
        # By length, so that a micro-batch pads little; the longest first, so that a lack of memory is found early.
        return draws[np.argsort(-self._costs[draws % self._num_samples], kind="stable")]

    def _samples_per_rank(self, num_samples: int) -> list[int]:
        if num_samples not in self._counts:
            self._counts[num_samples] = apportion(num_samples, self._share_weights)
        return self._counts[num_samples]

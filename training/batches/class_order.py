"""The order with shares of the classes that are not those of the data: a pure function of (seed, epoch, position) too.

An epoch has as many positions as there are samples. After any number of epochs a class was drawn as often as its share of
all positions says, to less than one draw. Its draws go through its samples in passes, each pass in a keyed order of its
own and from epoch to epoch, so no sample of a class is drawn twice more often than another. Beside the samples sorted by
class nothing of their number is stored, and any position is reached in constant time.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from ..common.keyed_random import fold, fold_array
from ..config.recipe import Recipe
from ..tasks.classes import training_labels
from ..tasks.task import Task
from .order import Order, permute_each

_CLASS_STREAM = 0xC1A55


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassOrder(Order):
    """An order in which each class has the share of an epoch that its weight says."""

    members: np.ndarray
    """Sample indices by class, int64 [samples]."""
    counts: np.ndarray
    """Samples of each class, int64 [classes], none of them 0."""
    weights: tuple[int, ...]
    """The share of each class relative to the others; whole numbers, so that every process counts alike."""

    @classmethod
    def of(cls, labels: np.ndarray, *, seed: int, square_root: bool = False) -> ClassOrder:
        """Return the order of samples with these labels: equal shares, or shares that grow with a class's square root."""
        counts = np.unique(labels, return_counts=True)[1]
        weights = tuple(math.isqrt(count << 32) if square_root else 1 for count in counts.tolist())
        members = np.argsort(labels, kind="stable")
        return cls(seed=seed, num_samples=len(labels), members=members, counts=counts, weights=weights)

    def indices(self, epoch: int, start: int, stop: int) -> np.ndarray:
        """Return what is drawn at positions [start, stop) of an epoch, or up to its end, int64."""
        slots = super().indices(epoch, start, stop)
        before, after = self._draws_before(epoch), self._draws_before(epoch + 1)
        ends = np.cumsum(after - before)
        classes = np.searchsorted(ends, slots, side="right")
        sizes = self.counts[classes]
        # The draws of a class are counted from the start of the run: the last pass of an epoch goes on in the next.
        passes, places = np.divmod(slots - ends[classes] + after[classes], sizes)
        keys = fold_array(fold_array(fold(self.seed, _CLASS_STREAM), classes), passes)
        firsts = np.cumsum(self.counts) - self.counts
        samples = self.members[firsts[classes] + permute_each(places, sizes, keys)]
        return samples + (passes - before[classes] // sizes) * self.num_samples

    def _draws_before(self, epoch: int) -> np.ndarray:
        """Return how often each class was drawn in the epochs before one, int64 [classes]."""
        total, positions = sum(self.weights), epoch * self.num_samples
        edges = [0, *(positions * edge // total for edge in itertools.accumulate(self.weights))]
        return np.diff(np.array(edges, dtype=np.int64))


def make_order(recipe: Recipe, task: Task) -> Order:
    """Return the order of a task's training samples, sampled as the recipe says."""
    if recipe.sampling == "natural":
        return Order(seed=recipe.seed, num_samples=task.num_samples("train"))
    labels = training_labels(task)
    assert labels is not None, "checked at the start of a run"
    return ClassOrder.of(labels, seed=recipe.seed, square_root=recipe.sampling == "sqrt")

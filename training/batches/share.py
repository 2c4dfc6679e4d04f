"""Splits a global batch over ranks, and a rank's share into micro-batches. Pure functions."""

from __future__ import annotations

import functools
import itertools

import numpy as np

from ..common.apportion import apportion


@functools.lru_cache(maxsize=16)
def _by_owner(num_samples: int, weights: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions, those of rank 0 first, and where each rank's begin: 8 bytes a position, and a rank."""
    counts = apportion(num_samples, weights)
    ranks = np.repeat(np.arange(len(weights)), counts)
    turns = np.concatenate([(np.arange(count) + 0.5) / count if count else np.empty(0) for count in counts])
    owners = ranks[np.lexsort((ranks, turns))]
    return np.argsort(owners, kind="stable"), np.cumsum([0, *counts])


def rank_positions(num_samples: int, rank: int, weights: tuple[float, ...]) -> np.ndarray:
    """Return the positions of a global batch that `rank` computes, increasing, int64.

    The ranks take turns in proportion to their weights, so that of a batch sorted by length each gets both short and long
    samples. Every position has one owner; a rank of weight zero owns none.
    """
    positions, starts = _by_owner(num_samples, weights)
    return positions[starts[rank] : starts[rank + 1]]


def micro_batches(num_samples: int, limit: int | None) -> list[slice]:
    """Return the fewest slices of at most `limit` samples that make up a share, as equal as possible; `None`: no limit.

    An empty share has none.

    >>> micro_batches(10, 4)
    [slice(0, 4, None), slice(4, 7, None), slice(7, 10, None)]
    """
    if num_samples == 0:
        return []
    return split_evenly(num_samples, 1 if limit is None else -(-num_samples // limit))


def split_evenly(num_samples: int, count: int) -> list[slice]:
    """Return `count` slices that make up a share, as equal as possible."""
    size, longer = divmod(num_samples, count)
    edges = [number * size + min(number, longer) for number in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]

"""A whole number shared out by weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def apportion(num_samples: int, weights: Sequence[float]) -> np.ndarray:
    """Return how many samples each rank takes, int64 [ranks], by largest remainders; the sum is `num_samples`.

    >>> apportion(10, (3, 1)).tolist()
    [8, 2]
    """
    ideal = np.asarray(weights, dtype=np.float64) * (num_samples / float(np.sum(weights)))
    counts = np.floor(ideal + 1e-9).astype(np.int64)
    remainders = ideal - counts
    # A stable sort gives the left-over samples to the lower ranks among equals, the same in every process.
    for rank in np.argsort(-remainders, kind="stable")[: num_samples - int(counts.sum())]:
        counts[rank] += 1
    return counts

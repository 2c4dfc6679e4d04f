"""Runs of rows that are alike, as groups where the data name none."""

from __future__ import annotations

import itertools

import numpy as np

from ..landmarks import LandmarkData
from .nearness import Nearness, SourceOrder
from .overlaps import are_overlapping

BLOCKS = "blocks"
"""The name of this kind of group."""
_JUMP = 0.5
"""A jump is at least this share of the median distance of two clips of the class,"""
_TIMES_USUAL = 6.0
"""and at least so many times the median distance to the next row."""
_PIECES = 10
"""Blocks of a class that has hardly any jumps: as many as the shares of a split need,"""
_FEWEST_PIECES = 3
"""fewer of overlapping windows, which are lost where blocks touch, so that a block is long beside a window."""


def block_names(data: LandmarkData) -> list[str]:
    """Return the block of each clip: consecutive rows of one class (and signer, where known) between two jumps.

    Of a class with fewer than three blocks, or with more than half of its rows in one, the longest is cut in its middle,
    at its largest jump, until there are ten, or fewer of overlapping windows.
    """
    order = SourceOrder.of(data)
    first, second = order.neighbours()
    jumps = np.zeros(len(data))
    jumps[first] = Nearness.of(data, order).distances(data, first, second)
    sample = np.linspace(0, len(first) - 1, min(len(first), 100)).astype(np.int64)
    is_windows = len(first) > 0 and are_overlapping(data, first[sample], second[sample]).mean() > 0.5
    usual = float(np.median(jumps[first])) if len(first) else 0.0
    names = np.empty(len(data), dtype=object)
    for stratum, (begin, stop) in enumerate(zip(order.bounds[:-1], order.bounds[1:], strict=True)):
        rows = order.clips[begin:stop]
        pieces = _PIECES
        if is_windows:
            window = float(np.diff(data.offsets)[rows].mean())
            pieces = min(_PIECES, max(_FEWEST_PIECES, int(len(rows) / (2 * window))))
        bounds = _bounds(jumps[rows[:-1]], max(_JUMP, _TIMES_USUAL * usual), pieces)
        for number, (low, high) in enumerate(itertools.pairwise(bounds)):
            names[rows[low:high]] = f"{stratum}.{number}"
    return names.tolist()


def _bounds(jumps: np.ndarray, large: float, pieces: int) -> list[int]:
    """Return where blocks begin and end, from the jump after each row but the last."""
    bounds = [0, *(np.flatnonzero(jumps > large) + 1).tolist(), len(jumps) + 1]
    lengths = np.diff(bounds)
    if len(lengths) >= 3 and lengths.max() <= bounds[-1] / 2:
        return bounds
    while len(lengths) < pieces and lengths.max() >= 4:
        longest = int(lengths.argmax())
        margin = int(lengths[longest]) // 4
        low, high = bounds[longest] + margin, bounds[longest + 1] - margin
        bounds.insert(longest + 1, low + int(jumps[low : high - 1].argmax()) + 1)
        lengths = np.diff(bounds)
    return bounds

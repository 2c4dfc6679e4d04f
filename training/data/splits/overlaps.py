"""Clips that are overlapping windows of one recording: the last frames of one are the first of the next."""

from __future__ import annotations

import numpy as np

from ..landmarks import LandmarkData
from .nearness import SourceOrder

_SHARED = 0.2
"""The share of the shorter clip's frames that two windows have in common at least."""


def are_overlapping(data: LandmarkData, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return for each pair of clips whether one goes on in the other with the same frames, bool [pairs]."""
    if np.diff(data.offsets).max() < 2:
        return np.zeros(len(first), dtype=bool)
    frames = _Frames(data)
    return np.array([frames.overlap(a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True)], dtype=bool)


def overlapping(data: LandmarkData, parts: np.ndarray) -> np.ndarray:
    """Return the clips that overlap with a clip of a higher part near them in the source; `parts` [clips], -1: in none."""
    if np.diff(data.offsets).max() < 2:
        return np.empty(0, dtype=np.int64)
    frames, order, found = _Frames(data), SourceOrder.of(data), set()
    rows, stratum = order.clips, np.repeat(np.arange(len(order.bounds) - 1), np.diff(order.bounds))
    inside = parts[rows] >= 0
    rows, stratum = rows[inside], stratum[inside]
    borders = np.flatnonzero((parts[rows[1:]] != parts[rows[:-1]]) & (stratum[1:] == stratum[:-1]))
    for border in borders.tolist():
        forward = parts[rows[border]] > parts[rows[border + 1]]
        kept, place, step = (border, border + 1, 1) if forward else (border + 1, border, -1)
        while 0 <= place < len(rows) and stratum[place] == stratum[kept] and parts[rows[place]] < parts[rows[kept]]:
            if not frames.overlap(int(rows[kept]), int(rows[place])):
                break
            found.add(int(rows[place]))
            place += step
    return np.array(sorted(found), dtype=np.int64)


class _Frames:
    """A hash of each frame of the clips that are asked for."""

    def __init__(self, data: LandmarkData) -> None:
        self._numbers = data.values.reshape(len(data.values), -1)
        self._offsets = data.offsets
        width = self._numbers.shape[1]
        self._weights = np.random.default_rng(0).integers(1 << 63, size=width, dtype=np.uint64) * 2 + 1
        self._known: dict[int, np.ndarray] = {}

    def overlap(self, one: int, other: int) -> bool:
        a, b = self._of(one), self._of(other)
        return _goes_on(a, b) or _goes_on(b, a)

    def _of(self, clip: int) -> np.ndarray:
        if clip not in self._known:
            frames = np.ascontiguousarray(self._numbers[self._offsets[clip] : self._offsets[clip + 1]])
            self._known[clip] = (frames.view(np.uint32).astype(np.uint64) * self._weights).sum(axis=1)
        return self._known[clip]


def _goes_on(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether `b` begins with the last frames of `a`; frames that are all the same are not counted twice."""
    enough = max(2, _SHARED * min(len(a), len(b)))
    for start in np.flatnonzero(a == b[0]).tolist():
        shared = min(len(a) - start, len(b))
        if shared < enough:
            break
        if (a[start : start + shared] == b[:shared]).all() and len(np.unique(b[:shared])) >= enough:
            return True
    return False

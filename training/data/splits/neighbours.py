"""Clips in the test that are nearly the same as clips in train: frames of one recording, overlapping windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..landmarks import LandmarkData
from .nearness import Nearness, SourceOrder
from .overlaps import are_overlapping

_MOST_CLIPS = 2000
_MOST_IN_TRAIN = 20_000
_IS_A_STREAM = 0.4
"""The data are consecutive frames if so many more clips are near the next one than near any other of their class."""
_MANY_WINDOWS = 0.2
"""The data are windows if so many clips share frames with the next one."""
_DUPLICATE = 0.1
"""At less than this distance two clips are nearly the same."""


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """How far the test clips stand beside training clips in the source that are nearly the same."""

    share: float = 0.0
    """The share of the test clips for which that holds."""
    overlap: bool = False
    """Whether it is because clips are windows that share frames."""
    pairs: tuple[tuple[int, int], ...] = ()
    """Clips that follow each other in the source and are nearly the same, a sample."""


@dataclass(frozen=True, kw_only=True)
class NearDuplicate:
    """Two clips of different splits that are nearly the same."""

    clip: int
    """In validation or test."""
    other: int
    """In train."""
    distance: float
    """0: the same; 1: as far from each other as two clips of the class mostly are."""


def find_neighbours(data: LandmarkData, train: np.ndarray, test: np.ndarray) -> Neighbours:
    """Return how far test clips, increasing indices, are neighbours of training clips; sampled, linear in the data."""
    order = SourceOrder.of(data)
    first, second = order.neighbours()
    if not len(first) or not len(test):
        return Neighbours()
    rng = np.random.default_rng(0)
    nearness = Nearness.of(data, order)
    is_stream = nearness.next_are_near >= _IS_A_STREAM
    sample = rng.choice(len(first), min(len(first), _MOST_CLIPS), replace=False)
    is_windows = are_overlapping(data, first[sample], second[sample]).mean() >= _MANY_WINDOWS
    if not (is_stream or is_windows):
        return Neighbours()

    def alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        near = nearness.distances(data, one, other) < (nearness.near if is_stream else 0.0)
        return near | are_overlapping(data, one, other) if is_windows else near

    tested = np.sort(rng.choice(test, min(len(test), _MOST_CLIPS), replace=False))
    in_train = np.zeros(len(data), dtype=bool)
    in_train[train] = True
    found = np.zeros(len(data), dtype=bool)
    for one, other in ((first, second), (second, first)):
        beside = np.isin(one, tested) & in_train[other]
        one, other = one[beside], other[beside]
        found[one[alike(one, other)]] = True
    sample = np.sort(sample)
    linked = alike(first[sample], second[sample])
    pairs = np.stack([first[sample][linked], second[sample][linked]], axis=1).tolist()
    return Neighbours(
        share=float(found[tested].mean()),
        overlap=bool(is_windows),
        pairs=tuple((one, other) for one, other in pairs),
    )


def near_duplicates(
    data: LandmarkData, train: np.ndarray, held_out: np.ndarray, *, most: int = 100
) -> tuple[NearDuplicate, ...]:
    """Return held-out clips with the training clip nearest to each, if they are nearly the same; the nearest first.

    At most `most` pairs, from a sample of 2,000 held-out and 20,000 training clips of a larger data set.
    """
    rng = np.random.default_rng(0)
    train = np.sort(rng.choice(train, min(len(train), _MOST_IN_TRAIN), replace=False))
    held_out = np.sort(rng.choice(held_out, min(len(held_out), _MOST_CLIPS), replace=False))
    if not len(train) or not len(held_out):
        return ()
    nearness = Nearness.of(data, SourceOrder.of(data))
    known = nearness.describe(data, train).astype(np.float32)
    found: list[tuple[float, int, int]] = []
    for clips in np.array_split(held_out, max(1, len(held_out) // 250)):
        numbers = nearness.describe(data, clips).astype(np.float32)
        nearest = ((known**2).sum(axis=1) - 2 * numbers @ known.T).argmin(axis=1)
        distances = nearness.distances(data, clips, train[nearest])
        found += zip(distances.tolist(), clips.tolist(), train[nearest].tolist(), strict=True)
    return tuple(
        NearDuplicate(clip=clip, other=other, distance=round(distance, 6))
        for distance, clip, other in sorted(found)[:most]
        if distance < _DUPLICATE
    )

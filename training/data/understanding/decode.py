"""Takes the landmarks out of the numbers of frames, in place, and marks those that are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from .columns import blocks, may_hold_gaps
from .interpretation import Interpretation
from .marks import frames_without


def decode(values: np.ndarray, read_as: Interpretation, marks: Sequence[float]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return landmarks [frames, landmarks, coords], missing ones as NaN, of `values` [frames, numbers], and notes.

    The memory of `values` is written over. A landmark is missing if one of its coordinates is, if its visibility or
    confidence is 0, if all of its part is 0 or such as -1, or if x and y are one of `marks`, those of `marks_of`.
    """
    found: Counter[float] = Counter()
    num_landmarks, num_coords = read_as.places.shape
    places = read_as.places.reshape(-1)
    is_all = len(places) == values.shape[1] and bool((places == np.arange(len(places))).all())
    if not (values.flags.writeable and values.flags.c_contiguous):
        values = values.copy()
    # Landmarks are never more than the numbers they come from: what is written lies before what is still to be read.
    target = values.reshape(-1)[: len(values) * len(places)].reshape(len(values), num_landmarks, num_coords)
    flagged = np.flatnonzero(read_as.flags >= 0)
    for rows in blocks(values):
        block = values[rows]
        absent = np.take(block, read_as.flags[flagged], axis=1) == 0
        lost = {number: frames_without(block, part) for number, part in enumerate(read_as.parts) if len(part) > 1}
        taken = target[rows] if is_all else np.take(block, places, axis=1).reshape(-1, num_landmarks, num_coords)
        if flagged.size:
            frames, points = np.nonzero(absent)
            taken[frames, flagged[points]] = np.nan
        for number, frames in lost.items():
            if frames.size:
                points = np.flatnonzero(read_as.part_of == number)
                _count(found, block[frames, read_as.parts[number][0, 0]], len(points))
                taken[np.ix_(frames, points)] = np.nan
        for mark in marks:
            at = (taken[:, :, :2] == mark).all(axis=2) & (read_as.flags < 0)
            found[mark] += int(at.sum())
            taken[at] = np.nan
        if may_hold_gaps(taken):
            taken[np.isnan(taken).any(axis=2)] = np.nan
        if not is_all:
            target[rows] = taken
    return target, tuple(
        f"{count:,} points are missing: their {'x and y' if mark in marks else 'coordinates'} are {mark:g}"
        for mark, count in found.items()
        if count
    )


def _count(found: Counter[float], marks: np.ndarray, num_points: int) -> None:
    """Count the points of parts that are missing by another number than 0, which needs no word."""
    for mark, frames in zip(*np.unique(marks[marks != 0], return_counts=True), strict=True):
        found[float(mark)] += int(frames) * num_points

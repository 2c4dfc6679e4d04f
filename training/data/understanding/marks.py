"""The numbers that stand for a missing point, beside NaN: 0 or -1 in x and y at once, or such a number in a whole part."""

from __future__ import annotations

import numpy as np

from .columns import Columns, blocks
from .interpretation import Interpretation

_MARKS = (0.0, -1.0)
"""What programs write for a point that was not found; YOLO and OpenPose write 0."""

_FEWEST_POINTS = 3
"""The track of a lone point may pass through 0."""


def marks_of(values: np.ndarray, read_as: Interpretation, columns: Columns) -> tuple[float, ...]:
    """Return the numbers that mean in x and y at once that a point is missing, of `values` [frames, numbers].

    A number is one if it never stands in x or y alone. 0 is none where coordinates are relative: below 0, from a point that
    is always 0. Only points that can be lost alone, and of which nothing else says that they are missing, are looked at.
    """
    if not read_as.points_may_be_lost or len(read_as.places) < _FEWEST_POINTS:
        return ()
    places = read_as.places[read_as.flags < 0, :2]
    dead = columns.dead[places].all(axis=1)
    is_relative = bool(dead.any() and not dead.all() and (columns.low[places] < 0).any())
    return tuple(
        mark for mark in _MARKS if not (mark == 0 and is_relative) and _stands_in_pairs(values, places, columns, mark)
    )


def _stands_in_pairs(values: np.ndarray, places: np.ndarray, columns: Columns, mark: float) -> bool:
    may_hold = ((columns.low[places] <= mark) & (columns.high[places] >= mark)).any(axis=1)
    places = places[may_hold]
    found = False
    for rows in blocks(values) if len(places) else ():
        in_x, in_y = (values[rows][:, places[:, axis]] == mark for axis in (0, 1))
        if (in_x != in_y).any():
            return False
        found = found or bool(in_x.any())
    return found


def frames_without(block: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return the frames of a block in which a part, [points, coords], is missing: all of it is 0, -1 or lower, as -999."""
    first = block[:, part[0]]
    is_mark = (first[:, 0] == 0) | (first[:, 0] <= -1)
    frames = np.flatnonzero(is_mark & (first == first[:, :1]).all(axis=1))
    if not frames.size:
        return frames
    taken = block[frames][:, part.reshape(-1)]
    return frames[(taken == taken[:, :1]).all(axis=1)]

"""Takes the landmarks out of the numbers of frames, in place, and marks those that are missing."""

from __future__ import annotations

import numpy as np

from .columns import blocks
from .interpretation import Interpretation


def decode(values: np.ndarray, read_as: Interpretation) -> np.ndarray:
    """Return landmarks [frames, landmarks, coords], missing ones as NaN, of `values` [frames, numbers], which are written over.

    A landmark is missing if one of its coordinates is, if its visibility or confidence is 0, or if all of its part is 0.
    """
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
        absent = block[:, read_as.flags[flagged]] == 0
        lost = {number: _without(block, part) for number, part in enumerate(read_as.parts) if len(part) > 1}
        taken = target[rows] if is_all else block[:, places].reshape(-1, num_landmarks, num_coords)
        if flagged.size:
            taken[:, flagged] = np.where(absent[:, :, None], np.float32(np.nan), taken[:, flagged])
        for number, frames in lost.items():
            if frames.size:
                taken[np.ix_(frames, np.flatnonzero(read_as.part_of == number))] = np.nan
        gaps = np.isnan(taken)
        if gaps.any():
            taken[gaps.any(axis=2)] = np.nan
        if not is_all:
            target[rows] = taken
    return target


def _without(block: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return the frames, [found], in which all coordinates of a part are 0: trackers write a missing part so."""
    frames = np.flatnonzero((block[:, part[0]] == 0).all(axis=1))
    return frames[(block[frames][:, part.reshape(-1)] == 0).all(axis=1)] if frames.size else frames

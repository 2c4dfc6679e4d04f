"""Computes the model's input features from landmarks, after augmentation: positions, motion and presence."""

from __future__ import annotations

import itertools
from functools import cache

import torch

from .landmarks import LandmarkLayout
from .packing import Rows

_MOST_ENDS = 8
"""Of a part whose distances are features: more would be as many numbers as all others."""


@cache
def end_pairs(layout: LandmarkLayout) -> tuple[tuple[int, int], ...]:
    """Return the pairs of ends of each articulated part: its root and where its bones end, a hand's wrist and fingertips."""
    pairs: list[tuple[int, int]] = []
    for first, stop, root in layout.parts:
        met = [point for bone in layout.bones if all(first <= one < stop for one in bone) for point in bone]
        ends = sorted({root, *(point for point in met if met.count(point) == 1)})
        if len(ends) <= _MOST_ENDS:
            pairs += itertools.combinations(ends, 2)
    return tuple(pairs)


def num_features(layout: LandmarkLayout, distances: bool = False) -> int:
    """Return the number of features of a frame, with the distances of the ends of its parts or without."""
    positions = layout.num_landmarks * layout.num_coords
    articulated = sum(stop - first for first, stop, _ in layout.parts) * layout.num_coords
    return 3 * positions + articulated + layout.num_landmarks + (len(end_pairs(layout)) if distances else 0)


def landmark_features(
    landmarks: torch.Tensor, rows: Rows, layout: LandmarkLayout, distances: bool = False
) -> torch.Tensor:
    """Return features [rows, features] of clips end to end, [rows, landmarks, coords], with missing points as NaN.

    For each frame: positions; positions of articulated parts relative to their root (a hand to its wrist); with
    `distances` those between the ends of each part, which a turned hand keeps; central first differences; second
    differences; and which landmarks are present. What a missing point is a part of is 0. For the differences a clip's first
    and last frames are repeated.
    """
    relative = [
        (landmarks[:, first:stop] - landmarks[:, root : root + 1]).flatten(1) for first, stop, root in layout.parts
    ]
    if distances and (pairs := end_pairs(layout)):
        one, other = ([pair[place] for pair in pairs] for place in range(2))
        between = landmarks[:, one] - landmarks[:, other]
        relative.append((between * between).sum(dim=2).sqrt())
    before, after = (landmarks.index_select(0, neighbour) for neighbour in rows.neighbours())
    velocity = (after - before) * 0.5
    acceleration = after - 2.0 * landmarks + before
    values = torch.cat([landmarks.flatten(1), *relative, velocity.flatten(1), acceleration.flatten(1)], dim=1)
    present = (~landmarks[..., 0].isnan()).to(landmarks.dtype)
    return torch.cat([values.nan_to_num_(nan=0.0), present], dim=1)

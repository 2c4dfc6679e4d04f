"""Computes the model's input features from landmarks, after augmentation: positions, motion and presence."""

from __future__ import annotations

import torch

from .landmarks import LandmarkLayout
from .packing import Rows


def num_features(layout: LandmarkLayout) -> int:
    """Return the number of features of a frame."""
    positions = layout.num_landmarks * layout.num_coords
    articulated = sum(stop - first for first, stop, _ in layout.parts) * layout.num_coords
    return 3 * positions + articulated + layout.num_landmarks


def landmark_features(landmarks: torch.Tensor, rows: Rows, layout: LandmarkLayout) -> torch.Tensor:
    """Return features [rows, features] of clips end to end, [rows, landmarks, coords], with missing points as NaN.

    For each frame: positions; positions of articulated parts relative to their root (a hand to its wrist); central
    first differences; second differences; and which landmarks are present. What a missing point is a part of is 0. For the
    differences a clip's first and last frames are repeated.
    """
    relative = [
        (landmarks[:, first:stop] - landmarks[:, root : root + 1]).flatten(1) for first, stop, root in layout.parts
    ]
    before, after = (landmarks.index_select(0, neighbour) for neighbour in rows.neighbours())
    velocity = (after - before) * 0.5
    acceleration = after - 2.0 * landmarks + before
    values = torch.cat([landmarks.flatten(1), *relative, velocity.flatten(1), acceleration.flatten(1)], dim=1)
    present = (~landmarks[..., 0].isnan()).to(landmarks.dtype)
    return torch.cat([values.nan_to_num_(nan=0.0), present], dim=1)

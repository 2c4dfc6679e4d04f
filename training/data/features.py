"""The model's input features, computed from landmarks after augmentation: positions, motion and presence."""

from __future__ import annotations

import torch

from training.data.landmarks import LandmarkLayout


def num_features(layout: LandmarkLayout) -> int:
    """Return the features of a frame."""
    positions = layout.num_landmarks * layout.num_coords
    articulated = sum(stop - first for first, stop, _ in layout.parts) * layout.num_coords
    return 3 * positions + articulated + layout.num_landmarks


def landmark_features(landmarks: torch.Tensor, layout: LandmarkLayout) -> torch.Tensor:
    """Return features [clips, frames, features] of clips [clips, frames, landmarks, coords] with missing points as NaN.

    For each frame: positions; positions of articulated parts relative to their root (a hand to its wrist); central
    first differences; second differences; and which landmarks are there. What a missing point enters is 0. A padding
    frame must repeat the clip's last one, so that the differences at a clip's end do not depend on the padding.
    """
    relative = [
        (landmarks[:, :, first:stop] - landmarks[:, :, root : root + 1]).flatten(2)
        for first, stop, root in layout.parts
    ]
    before = torch.cat([landmarks[:, :1], landmarks[:, :-1]], dim=1)
    after = torch.cat([landmarks[:, 1:], landmarks[:, -1:]], dim=1)
    velocity = (after - before) * 0.5
    acceleration = after - 2.0 * landmarks + before
    values = torch.cat([landmarks.flatten(2), *relative, velocity.flatten(2), acceleration.flatten(2)], dim=2)
    present = (~landmarks[..., 0].isnan()).to(landmarks.dtype)
    return torch.cat([values.nan_to_num(nan=0.0), present], dim=2)

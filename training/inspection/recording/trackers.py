"""What finds landmarks in frames: MediaPipe's hands, or its whole body with hands and face."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from .extra import import_extra

_HAND, _POSE, _FACE = 21, 33, 468


class Tracker(Protocol):
    """Finds landmarks in one frame after the other.

    Attributes:
        parts: The parts in the order of their points, each with their number.

    """

    parts: dict[str, int]

    def track(self, frame: np.ndarray) -> np.ndarray:
        """Return the points, float32 [points, 3], of a frame, uint8 [height, width, RGB]; missing ones as NaN.

        x and y are shares of the width and of the height, from the top left corner; left and right are the signer's own.
        """

    def restart(self) -> None:
        """Forget the frames so far: another clip begins."""

    def close(self) -> None:
        """Give back what is held."""


class HandsTracker:
    """MediaPipe Hands: the left hand, then the right."""

    def __init__(self) -> None:
        self.parts = {"left_hand": _HAND, "right_hand": _HAND}
        self._hands = import_extra("mediapipe").solutions.hands.Hands(max_num_hands=2)

    def track(self, frame: np.ndarray) -> np.ndarray:
        """Return [42, 3]. Of two hands that MediaPipe takes for the same side, the surer one counts."""
        found = self._hands.process(np.ascontiguousarray(frame))
        scores: dict[str, float] = {}
        hands: dict[str, Any] = {}
        for hand, sides in zip(found.multi_hand_landmarks or (), found.multi_handedness or (), strict=True):
            side = sides.classification[0]
            # MediaPipe Hands names the sides of a mirrored picture, as of a mirror; these frames are not mirrored.
            name = "right_hand" if side.label == "Left" else "left_hand"
            if side.score > scores.get(name, 0.0):
                scores[name], hands[name] = side.score, hand
        return np.concatenate([_points(hands.get(name), number) for name, number in self.parts.items()])

    def restart(self) -> None:
        """Forget the frames so far."""
        self._hands.reset()

    def close(self) -> None:
        """End MediaPipe."""
        self._hands.close()


class HolisticTracker:
    """MediaPipe Holistic: face, left hand, pose and right hand, the 543 points in the order of Google's ISLR files."""

    def __init__(self) -> None:
        self.parts = {"face": _FACE, "left_hand": _HAND, "pose": _POSE, "right_hand": _HAND}
        self._holistic = import_extra("mediapipe").solutions.holistic.Holistic()

    def track(self, frame: np.ndarray) -> np.ndarray:
        """Return [543, 3]."""
        found = self._holistic.process(np.ascontiguousarray(frame))
        parts = (_points(getattr(found, f"{name}_landmarks"), number) for name, number in self.parts.items())
        return np.concatenate(list(parts))

    def restart(self) -> None:
        """Forget the frames so far."""
        self._holistic.reset()

    def close(self) -> None:
        """End MediaPipe."""
        self._holistic.close()


def _points(landmarks: Any, number: int) -> np.ndarray:
    """Return the points of MediaPipe's list, [number, 3]; NaN without one."""
    if landmarks is None:
        return np.full((number, 3), np.nan, dtype=np.float32)
    return np.array([(point.x, point.y, point.z) for point in landmarks.landmark], dtype=np.float32)

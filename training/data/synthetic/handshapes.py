"""A hand of 21 points moved by its joints, and its shapes in the American manual alphabet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")

NUM_LANDMARKS = 21
"""In MediaPipe's order: the wrist, then four points from the palm out for thumb, index, middle, ring, little finger."""

ANGLES_PER_FINGER = 4
FINGER_ANGLES = 4 * ANGLES_PER_FINGER
THUMB_ANGLES = 5
ORIENTATION_ANGLES = 3
POSE_ANGLES = FINGER_ANGLES + THUMB_ANGLES + ORIENTATION_ANGLES

Finger = tuple[float, float, float, float]
"""Flexion of the MCP, PIP and DIP joints and spread at the MCP joint, towards the thumb where positive; in degrees."""

Thumb = tuple[float, float, float, float, float]
"""Radial and palmar abduction and opposition at the CMC joint, flexion of the MCP and IP joints; in degrees."""

Orientation = tuple[float, float, float]
"""Yaw, pitch and roll in degrees, in this order, from an upright right hand whose palm faces the viewer."""


def _straight(spread: float = 0.0, flexion: float = 5.0) -> Finger:
    return flexion, 8.0, 5.0, spread


_FIST: Finger = (85.0, 100.0, 60.0, 0.0)
_DRAPED: Finger = (76.0, 66.0, 28.0, 0.0)
"""Laid over the thumb, as in M, N and T: less curled than a finger of the fist."""
_RING: Finger = (62.0, 62.0, 32.0, 0.0)
"""Bent until its tip meets the thumb's, as in D, F and O."""

_THUMB_OVER_FIST: Thumb = (38.0, 38.0, 12.0, 40.0, 45.0)
_SIDEWAYS: Orientation = (150.0, 0.0, -85.0)


@dataclass(frozen=True, kw_only=True)
class Handshape:
    """The shape of the hand in one letter. Fingers from the index to the little finger."""

    fingers: tuple[Finger, Finger, Finger, Finger]
    thumb: Thumb
    orientation: Orientation = (0.0, 0.0, 0.0)

    def pose(self) -> np.ndarray:
        """Return all angles in degrees, float64 [POSE_ANGLES]: fingers, thumb, orientation."""
        return np.array([angle for part in (*self.fingers, self.thumb, self.orientation) for angle in part])


_LETTER_SHAPES: dict[str, Handshape] = {
    "A": Handshape(fingers=(_FIST, _FIST, _FIST, _FIST), thumb=(52, 9, 4, 48, 40)),
    "B": Handshape(fingers=(_straight(), _straight(), _straight(), _straight()), thumb=(27, 20, 4, 68, 75)),
    "C": Handshape(
        fingers=((30, 45, 25, 2), (32, 45, 25, 0), (34, 45, 25, -2), (36, 45, 25, -4)),
        thumb=(55, 41, 55, 34, 34),
        orientation=(45, 0, 0),
    ),
    "D": Handshape(fingers=(_straight(), _RING, _RING, _RING), thumb=(17, 45, 22, 33, 24), orientation=(25, 0, 0)),
    "E": Handshape(
        fingers=((45, 105, 55, 0), (45, 105, 55, 0), (45, 105, 55, 0), (45, 105, 55, 0)),
        thumb=(31, 30, 17, 68, 70),
    ),
    "F": Handshape(fingers=(_RING, _straight(4), _straight(-6), _straight(-16)), thumb=(46, 39, 36, 42, 43)),
    "G": Handshape(
        fingers=(_straight(flexion=15), _FIST, _FIST, _FIST), thumb=(41, 17, 14, 30, 20), orientation=_SIDEWAYS
    ),
    "H": Handshape(
        fingers=(_straight(flexion=12), _straight(flexion=12), _FIST, _FIST),
        thumb=_THUMB_OVER_FIST,
        orientation=_SIDEWAYS,
    ),
    "I": Handshape(fingers=(_FIST, _FIST, _FIST, _straight(-8)), thumb=_THUMB_OVER_FIST),
    "J": Handshape(fingers=(_FIST, _FIST, _FIST, _straight(-8)), thumb=_THUMB_OVER_FIST),
    "K": Handshape(fingers=(_straight(8), (42, 10, 5, -6), _FIST, _FIST), thumb=(6, 15, 15, 14, 8)),
    "L": Handshape(fingers=(_straight(6), _FIST, _FIST, _FIST), thumb=(72, 8, 5, 4, 2)),
    "M": Handshape(fingers=(_DRAPED, _DRAPED, _DRAPED, _FIST), thumb=(4, 19, 6, 59, 39)),
    "N": Handshape(fingers=(_DRAPED, _DRAPED, _FIST, _FIST), thumb=(23, 21, 8, 61, 42)),
    "O": Handshape(
        fingers=((55, 55, 30, 2), (60, 58, 30, 0), (62, 60, 32, -1), (62, 64, 34, -3)),
        thumb=(17, 44, 21, 24, 18),
        orientation=(35, 0, 0),
    ),
    "P": Handshape(
        fingers=(_straight(8), (42, 10, 5, -6), _FIST, _FIST),
        thumb=(6, 15, 15, 14, 8),
        orientation=(30, 105, 10),
    ),
    "Q": Handshape(
        fingers=(_straight(flexion=18), _FIST, _FIST, _FIST),
        thumb=(41, 17, 14, 30, 20),
        orientation=(35, 125, 15),
    ),
    "R": Handshape(fingers=((12, 12, 8, -10), (2, 6, 4, 13), _FIST, _FIST), thumb=_THUMB_OVER_FIST),
    "S": Handshape(fingers=(_FIST, _FIST, _FIST, _FIST), thumb=(33, 35, 25, 58, 49)),
    "T": Handshape(fingers=(_DRAPED, _FIST, _FIST, _FIST), thumb=(29, 23, 14, 43, 30)),
    "U": Handshape(fingers=(_straight(-1), _straight(1), _FIST, _FIST), thumb=(24, 34, 19, 69, 51)),
    "V": Handshape(fingers=(_straight(14), _straight(-10), _FIST, _FIST), thumb=(24, 34, 19, 69, 51)),
    "W": Handshape(fingers=(_straight(14), _straight(0), _straight(-14), (75, 85, 50, 0)), thumb=(5, 34, 13, 69, 44)),
    "X": Handshape(fingers=((12, 85, 40, 0), _FIST, _FIST, _FIST), thumb=_THUMB_OVER_FIST, orientation=(25, 0, 0)),
    "Y": Handshape(fingers=(_FIST, _FIST, _FIST, _straight(-18)), thumb=(68, 10, 5, 4, 0)),
    "Z": Handshape(fingers=(_straight(), _FIST, _FIST, _FIST), thumb=_THUMB_OVER_FIST),
}

POSES = np.stack([_LETTER_SHAPES[letter].pose() for letter in LETTERS])
"""The pose of each letter in degrees, float64 [26, POSE_ANGLES]."""

STROKES: dict[str, np.ndarray] = {
    "J": np.array([[0.0, 0.0], [0.0, -0.35], [0.02, -0.7], [0.2, -0.85], [0.4, -0.7]]),
    "Z": np.array([[0.0, 0.0], [-0.7, 0.0], [-0.35, -0.35], [0.0, -0.7], [-0.7, -0.7]]),
}
"""The path of the hand in a moving letter, as the viewer sees it: right and up, in hand lengths, [points, 2]."""

TURNS: dict[str, Orientation] = {"J": (55.0, 0.0, -25.0)}
"""How far a moving letter turns the hand along its stroke, in degrees."""

ROOTS = np.array([[0.27, 0.26, 0.06], [0.27, 0.95, 0.02], [0.05, 1.0, 0.0], [-0.16, 0.94, 0.01], [-0.35, 0.83, 0.04]])
"""Where thumb and fingers begin on an upright right palm seen from the front: right, up, towards the viewer.

All lengths are in hand lengths: the distance from the wrist to the knuckle of the middle finger.
"""

BONES = np.array([[0.44, 0.34, 0.27], [0.45, 0.27, 0.22], [0.50, 0.31, 0.23], [0.46, 0.29, 0.23], [0.36, 0.21, 0.20]])
"""Lengths of the three bones of thumb and fingers, from the palm out."""


def hand_points(poses: np.ndarray, roots: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """Return the points of right hands by forward kinematics, [hands, 21, 3] in hand lengths, the wrist at the origin.

    `poses` is [hands, POSE_ANGLES] in degrees, `roots` [hands, 5, 3], `bones` [hands, 5, 3]. The frame is that of
    `ROOTS`, turned by the orientation of the pose.
    """
    angles = np.radians(poses)
    fingers = angles[:, :FINGER_ANGLES].reshape(-1, 4, ANGLES_PER_FINGER)
    along, towards, bends = np.empty((3, len(poses), 5, 3))
    along[:, 1:] = _stack(np.sin(fingers[:, :, 3]), np.cos(fingers[:, :, 3]), 0.0)
    towards[:, 1:] = (0.0, 0.0, 1.0)
    bends[:, 1:] = np.cumsum(fingers[:, :, :3], axis=2)
    radial, palmar, opposition, mcp, ip = angles[:, FINGER_ANGLES : FINGER_ANGLES + THUMB_ANGLES].T
    along[:, 0] = _stack(np.sin(radial) * np.cos(palmar), np.cos(radial) * np.cos(palmar), np.sin(palmar))
    across = _stack(-np.cos(radial), np.sin(radial), 0.0)
    forwards = _stack(-np.sin(radial) * np.sin(palmar), -np.cos(radial) * np.sin(palmar), np.cos(palmar))
    towards[:, 0] = np.cos(opposition)[:, None] * across + np.sin(opposition)[:, None] * forwards
    bends[:, 0] = _stack(0.0, mcp, mcp + ip)
    # A digit bends in one plane: each bone turns from `along` to `towards` by the sum of the flexions before it.
    directions = np.cos(bends)[..., None] * along[:, :, None] + np.sin(bends)[..., None] * towards[:, :, None]
    joints = roots[:, :, None] + np.cumsum(directions * bones[..., None], axis=2)
    digits = np.concatenate([roots[:, :, None], joints], axis=2).reshape(len(poses), NUM_LANDMARKS - 1, 3)
    points = np.concatenate([np.zeros((len(poses), 1, 3)), digits], axis=1)
    return points @ rotations(poses[:, -ORIENTATION_ANGLES:]).transpose(0, 2, 1)


def rotations(orientations: np.ndarray) -> np.ndarray:
    """Return rotation matrices [hands, 3, 3] that turn columns by yaw, then pitch, then roll, [hands, 3] in degrees."""
    yaw, pitch, roll = np.radians(orientations).T
    about_vertical = _stack(np.cos(yaw), 0.0, np.sin(yaw), 0.0, 1.0, 0.0, -np.sin(yaw), 0.0, np.cos(yaw))
    about_right = _stack(1.0, 0.0, 0.0, 0.0, np.cos(pitch), -np.sin(pitch), 0.0, np.sin(pitch), np.cos(pitch))
    about_depth = _stack(np.cos(roll), -np.sin(roll), 0.0, np.sin(roll), np.cos(roll), 0.0, 0.0, 0.0, 1.0)
    first, second, third = (matrix.reshape(-1, 3, 3) for matrix in (about_vertical, about_right, about_depth))
    return third @ second @ first


def _stack(*components: np.ndarray | float) -> np.ndarray:
    return np.stack(np.broadcast_arrays(*components), axis=-1)

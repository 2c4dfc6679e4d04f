"""The layout of OpenPose's upper body and hands.

The points are those of https://github.com/CMU-Perceptual-Computing-Lab/openpose/blob/master/doc/02_output.md.
"""

from __future__ import annotations

from ..landmarks import LandmarkLayout

UPPER_BODY = (
    "nose",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
)
"""The points above the hips, which BODY_25 and COCO have in one order."""
OPENPOSE_PARTS = ("pose", "left_hand", "right_hand")

_FINGERS = ("index", "middle", "ring", "pinky")
_JOINTS = ("mcp", "pip", "dip", "tip")
HAND = (
    *("wrist", "thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip"),
    *(f"{finger}_{joint}" for finger in _FINGERS for joint in _JOINTS),
)
"""The points of a hand in the order of OpenPose and MediaPipe."""
HAND_BONES = tuple(
    (0 if joint == 0 else 4 * finger + joint, 4 * finger + joint + 1) for finger in range(5) for joint in range(4)
)
_UPPER_BODY_BONES = ((0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (0, 8), (8, 10), (0, 9), (9, 11))
_SHOULDERS = (2, 5)
_PALM = (0, 9)


def upper_body_and_hands(parts: tuple[str, ...] = OPENPOSE_PARTS) -> LandmarkLayout:
    """Return the layout of those of `OPENPOSE_PARTS` that are given, in their order: 12 points of the pose, 21 a hand."""
    names: list[str] = []
    bones: list[tuple[int, int]] = []
    hands: list[int] = []
    for part in parts:
        first = len(names)
        hands += [] if part == "pose" else [first]
        names += [f"{part}.{name}" for name in (UPPER_BODY if part == "pose" else HAND)]
        bones += [(first + a, first + b) for a, b in (_UPPER_BODY_BONES if part == "pose" else HAND_BONES)]
    palms = tuple((hand + _PALM[0], hand + _PALM[1]) for hand in hands)
    return LandmarkLayout(
        num_landmarks=len(names),
        num_coords=2,
        center=_SHOULDERS if "pose" in parts else tuple(hands),
        scale=(_SHOULDERS,) if "pose" in parts else palms,
        mirror=mirror_of(names),
        parts=tuple((hand, hand + len(HAND), hand) for hand in hands),
        title=", ".join(_TITLES[part] for part in parts).replace("left hand, right hand", "both hands"),
        names=tuple(names),
        bones=tuple(bones),
    )


_TITLES = {"pose": "upper body", "left_hand": "left hand", "right_hand": "right hand"}


def mirror_of(names: list[str]) -> tuple[int, ...]:
    """Return the permutation that exchanges left and right, by the names; empty if a side is not there.

    One hand alone is its own mirror image: a flip makes it the other hand in the same shape.
    """
    if {name.split(".")[0] for name in names} in ({"left_hand"}, {"right_hand"}):
        return tuple(range(len(names)))
    other = [
        name.replace("left", "\0").replace("right", "left").replace("\0", "right")
        for name in (name.lower() for name in names)
    ]
    index = {name.lower(): number for number, name in enumerate(names)}
    return tuple(index[name] for name in other) if set(other) == set(index) else ()

"""The layouts of MediaPipe's landmarks, composed from parts: pose, hands, face, and the lips of a face."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ..landmarks import LandmarkLayout

_FINGERS = ("index_finger", "middle_finger", "ring_finger", "pinky")
_HAND_NAMES = (
    "wrist",
    *(f"thumb_{joint}" for joint in ("cmc", "mcp", "ip", "tip")),
    *(f"{finger}_{joint}" for finger in _FINGERS for joint in ("mcp", "pip", "dip", "tip")),
)
_POSE_SIDES = (
    *("shoulder", "elbow", "wrist", "pinky", "index", "thumb"),
    *("hip", "knee", "ankle", "heel", "foot_index"),
)
_POSE_NAMES = (
    "nose",
    *(f"{side}_eye{place}" for side in ("left", "right") for place in ("_inner", "", "_outer")),
    *("left_ear", "right_ear", "mouth_left", "mouth_right"),
    *(f"{side}_{joint}" for joint in _POSE_SIDES for side in ("left", "right")),
)

# The lips of the face mesh, as four arcs from the right corner to the left: reversed, an arc is its mirror image.
LIP_ARCS = (
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
    (185, 40, 39, 37, 0, 267, 269, 270, 409),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
    (191, 80, 81, 82, 13, 312, 311, 310, 415),
)
LIPS = tuple(point for arc in LIP_ARCS for point in arc)

POINTS: dict[str, tuple[str, ...]] = {
    "hand": _HAND_NAMES,
    "pose": _POSE_NAMES,
    "left_hand": _HAND_NAMES,
    "right_hand": _HAND_NAMES,
    "face": tuple(map(str, range(468))),
    "face_and_irises": tuple(map(str, range(478))),
    "lips": tuple(map(str, LIPS)),
}
"""The points of each part, in the order in which MediaPipe gives them; `lips` are those that are kept of a face."""

ORDER = tuple(POINTS)
"""The parts in the order in which they are kept."""

PART_NAMES = {
    **dict.fromkeys(("left_hand", "lefthand", "hand_left", "left", "lh", "l_hand", "lhand"), "left_hand"),
    **dict.fromkeys(("right_hand", "righthand", "hand_right", "right", "rh", "r_hand", "rhand"), "right_hand"),
    **dict.fromkeys(("pose", "body"), "pose"),
    **dict.fromkeys(("face", "face_mesh", "facemesh"), "face"),
    "hand": "hand",
}
"""What programs call the parts of MediaPipe in the names of columns and arrays, as in `left_hand_0_x`."""

_PREFIX = {"face_and_irises": "face", "lips": "face"}
_TITLES = {"face_and_irises": "face"}

_POSE_MIRROR = (0, 4, 5, 6, 1, 2, 3, *(other for left in range(7, 33, 2) for other in (left + 1, left)))
_SHOULDERS = (11, 12)
_LIPS_MIRROR = tuple(LIPS.index(point) for arc in LIP_ARCS for point in reversed(arc))
# Wrist to middle knuckle: the length of the palm, which does not change as the fingers bend.
_PALM = (0, 9)
_NOSE_TIP, _EYE_CORNERS = 1, (33, 263)

_HAND_BONES = (
    *((0, 1), (0, 5), (5, 9), (9, 13), (13, 17), (0, 17)),
    *((joint, joint + 1) for finger in range(1, 21, 4) for joint in range(finger, finger + 3)),
)
_POSE_BONES = (
    *((0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10)),
    *((11, 12), (11, 23), (12, 24), (23, 24)),
    *(
        (first + side, second + side)
        for first, second in ((11, 13), (13, 15), (15, 17), (15, 19), (15, 21), (17, 19))
        for side in (0, 1)
    ),
    *(
        (first + side, second + side)
        for first, second in ((23, 25), (25, 27), (27, 29), (29, 31), (27, 31))
        for side in (0, 1)
    ),
)
_LIPS_BONES = tuple(
    (LIPS.index(first), LIPS.index(second)) for arc in LIP_ARCS for first, second in itertools.pairwise(arc)
)
_BONES: dict[str, tuple[tuple[int, int], ...]] = {
    **dict.fromkeys(("hand", "left_hand", "right_hand"), _HAND_BONES),
    "pose": _POSE_BONES,
    "lips": _LIPS_BONES,
}


def names_of(part: str) -> tuple[str, ...]:
    """Return the names of the points of a part, such as `left_hand.wrist`."""
    prefix = _PREFIX.get(part, part)
    return tuple(f"{prefix}.{name}" for name in POINTS[part])


def compose(parts: Sequence[str], num_coords: int) -> LandmarkLayout:
    """Return the layout of some parts of `ORDER`, in that order.

    The origin is between the shoulders, or else at the wrists or the tip of the nose; the unit is the width of the
    shoulders, or else the length of the palms or the width of the eyes. With a complete face there is no mirror image.
    """
    parts = sorted(parts, key=ORDER.index)
    first = dict(zip(parts, _starts([len(POINTS[part]) for part in parts]), strict=True))
    hands = [part for part in parts if part.endswith("hand")]
    center: tuple[int, ...]
    scale: tuple[tuple[int, int], ...]
    if "pose" in first:
        left, right = (first["pose"] + shoulder for shoulder in _SHOULDERS)
        center, scale = (left, right), ((left, right),)
    elif hands:
        center = tuple(first[hand] for hand in hands)
        scale = tuple((first[hand] + _PALM[0], first[hand] + _PALM[1]) for hand in hands)
    else:
        center, scale = (_NOSE_TIP,), (_EYE_CORNERS,)
    num_landmarks = sum(len(POINTS[part]) for part in parts)
    return LandmarkLayout(
        num_landmarks=num_landmarks,
        num_coords=num_coords,
        center=center,
        scale=scale,
        mirror=tuple(point for part in parts for point in _mirror(part, first)) if _has_mirror(parts) else (),
        parts=tuple((first[hand], first[hand] + len(_HAND_NAMES), first[hand]) for hand in hands),
        title=title_of(parts),
        names=tuple(name for part in parts for name in names_of(part)),
        bones=tuple((first[part] + a, first[part] + b) for part in parts for a, b in _BONES.get(part, ())),
    )


def title_of(parts: Sequence[str]) -> str:
    """Return what parts are called together: `pose, both hands, lips`."""
    titles = [_TITLES.get(part, part.replace("_", " ")) for part in parts]
    if "left hand" in titles and "right hand" in titles:
        titles[titles.index("left hand")] = "both hands"
        titles.remove("right hand")
    return ", ".join(titles)


def _starts(sizes: Sequence[int]) -> list[int]:
    return [sum(sizes[:number]) for number in range(len(sizes))]


def _has_mirror(parts: Sequence[str]) -> bool:
    return not any(part.startswith("face") for part in parts)


def _mirror(part: str, first: dict[str, int]) -> list[int]:
    """Return what each point of a part becomes under a flip: a hand the other one, or the other hand in the same shape."""
    if part == "pose":
        own: Sequence[int] = _POSE_MIRROR
    elif part == "lips":
        own = _LIPS_MIRROR
    else:
        own = range(len(POINTS[part]))
    other = {"left_hand": "right_hand", "right_hand": "left_hand"}.get(part, part)
    return [first.get(other, first[part]) + point for point in own]


def one_hand(num_coords: int = 2) -> LandmarkLayout:
    """Return the layout of one hand, the wrist first; a flip makes it the other hand in the same shape."""
    return compose(("hand",), num_coords)


def two_hands(num_coords: int = 2) -> LandmarkLayout:
    """Return the layout of a left and a right hand."""
    return compose(("left_hand", "right_hand"), num_coords)


def pose(num_coords: int = 3) -> LandmarkLayout:
    """Return the layout of MediaPipe's 33 pose landmarks."""
    return compose(("pose",), num_coords)


def pose_and_hands(num_coords: int = 2, *, lips: bool = False) -> LandmarkLayout:
    """Return the layout of a pose, a left and a right hand, and with `lips` the 40 points of `LIPS`."""
    return compose(("pose", "left_hand", "right_hand", *(("lips",) if lips else ())), num_coords)


def points(num_landmarks: int, num_coords: int) -> LandmarkLayout:
    """Return the layout of unknown points in space."""
    return LandmarkLayout(num_landmarks=num_landmarks, num_coords=num_coords, title="points")


def channels(num_channels: int, names: Sequence[str] = ()) -> LandmarkLayout:
    """Return the layout of channels that are not positions: cepstrum, sensors."""
    return LandmarkLayout(num_landmarks=num_channels, num_coords=1, spatial=False, title="channels", names=tuple(names))

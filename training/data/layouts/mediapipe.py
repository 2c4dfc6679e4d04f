"""Known layouts: the landmarks in the vectors of MediaPipe hands, pose and face."""

from __future__ import annotations

import itertools

import numpy as np

from ..landmarks import LandmarkLayout

HAND_POINTS = 21
POSE_POINTS = 33
FACE_POINTS = 468

# The lips of the face mesh, as four arcs from the right corner to the left: reversed, an arc is its mirror image.
LIP_ARCS = (
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
    (185, 40, 39, 37, 0, 267, 269, 270, 409),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
    (191, 80, 81, 82, 13, 312, 311, 310, 415),
)
LIPS = tuple(point for arc in LIP_ARCS for point in arc)

_POSE_MIRROR = (0, 4, 5, 6, 1, 2, 3, *(other for left in range(7, POSE_POINTS, 2) for other in (left + 1, left)))
_SHOULDERS = (11, 12)
_LIPS_MIRROR = tuple(LIPS.index(point) for arc in LIP_ARCS for point in reversed(arc))
# Wrist to middle knuckle: the length of the palm, which does not change as the fingers bend.
_PALM = (0, 9)

# The parts of MediaPipe Holistic, in the order in which they are kept.
_POINTS = {"pose": POSE_POINTS, "left_hand": HAND_POINTS, "right_hand": HAND_POINTS, "face": FACE_POINTS}

# What a frame holds, by the count of its numbers: parts in order, each (name, numbers per point). The fourth number of
# a pose point is its visibility.
_HANDS = (("left_hand", 3), ("right_hand", 3))
_VECTORS: dict[int, tuple[tuple[str, int], ...]] = {
    1662: (("pose", 4), ("face", 3), *_HANDS),
    258: (("pose", 4), *_HANDS),
    225: (("pose", 3), *_HANDS),
    132: (("pose", 4),),
    126: _HANDS,
    63: (("right_hand", 3),),
    42: (("right_hand", 2),),
}
KNOWN_VECTORS = frozenset(_VECTORS)
"""Sizes of a frame's vector by which its landmarks are known."""

# The same by the count of its landmarks; 543 is the order of Google's ISLR files.
_ARRAYS: dict[int, tuple[str, ...]] = {
    543: ("face", "left_hand", "pose", "right_hand"),
    75: ("pose", "left_hand", "right_hand"),
    42: ("left_hand", "right_hand"),
}


def one_hand(num_coords: int = 2) -> LandmarkLayout:
    """Return the layout of one hand, the wrist first; a flip makes it the other hand in the same shape."""
    return LandmarkLayout(
        num_landmarks=HAND_POINTS,
        num_coords=num_coords,
        center=(0,),
        scale=(_PALM,),
        mirror=tuple(range(HAND_POINTS)),
        parts=((0, HAND_POINTS, 0),),
        title="hand",
    )


def two_hands(num_coords: int = 2) -> LandmarkLayout:
    """Return the layout of a left and a right hand."""
    left, right = range(HAND_POINTS), range(HAND_POINTS, 2 * HAND_POINTS)
    return LandmarkLayout(
        num_landmarks=2 * HAND_POINTS,
        num_coords=num_coords,
        center=(left[0], right[0]),
        scale=tuple((hand[_PALM[0]], hand[_PALM[1]]) for hand in (left, right)),
        mirror=(*right, *left),
        parts=tuple((hand.start, hand.stop, hand.start) for hand in (left, right)),
        title="both hands",
    )


def pose(num_coords: int = 3) -> LandmarkLayout:
    """Return the layout of MediaPipe's 33 pose landmarks."""
    return LandmarkLayout(
        num_landmarks=POSE_POINTS,
        num_coords=num_coords,
        center=_SHOULDERS,
        scale=(_SHOULDERS,),
        mirror=_POSE_MIRROR,
        title="pose",
    )


def pose_and_hands(num_coords: int = 2, *, lips: bool = False) -> LandmarkLayout:
    """Return the layout of a pose, a left and a right hand, and with `lips` the 40 points of `LIPS`."""
    left = range(POSE_POINTS, POSE_POINTS + HAND_POINTS)
    right = range(left.stop, left.stop + HAND_POINTS)
    lips_mirror = tuple(right.stop + point for point in _LIPS_MIRROR) if lips else ()
    return LandmarkLayout(
        num_landmarks=right.stop + len(lips_mirror),
        num_coords=num_coords,
        center=_SHOULDERS,
        scale=(_SHOULDERS,),
        mirror=(*_POSE_MIRROR, *right, *left, *lips_mirror),
        parts=tuple((hand.start, hand.stop, hand.start) for hand in (left, right)),
        title="pose, both hands, lips" if lips else "pose, both hands",
    )


def points(num_landmarks: int, num_coords: int) -> LandmarkLayout:
    """Return the layout of unknown points in space."""
    return LandmarkLayout(num_landmarks=num_landmarks, num_coords=num_coords)


def channels(num_channels: int) -> LandmarkLayout:
    """Return the layout of channels that are not positions: cepstrum, sensors."""
    return LandmarkLayout(num_landmarks=num_channels, num_coords=1, spatial=False)


def layout_for(num_landmarks: int, num_coords: int) -> LandmarkLayout:
    """Return the known layout with so many landmarks (21 is a hand, 75 are pose and hands), else plain points."""
    if num_coords not in (2, 3):
        return LandmarkLayout(num_landmarks=num_landmarks, num_coords=num_coords, spatial=False)
    known = {
        layout.num_landmarks: layout
        for layout in (
            one_hand(num_coords),
            pose(num_coords),
            two_hands(num_coords),
            pose_and_hands(num_coords),
            pose_and_hands(num_coords, lips=True),
        )
    }
    return known.get(num_landmarks) or points(num_landmarks, num_coords)


def decode_frames(frames: np.ndarray) -> tuple[np.ndarray, LandmarkLayout]:
    """Return landmarks [frames, landmarks, coords] in float32, missing ones as NaN, and their layout.

    `frames` is [frames, numbers] or [frames, landmarks, coords]. A vector of unknown size is read as points of three
    coordinates if that divides it, else of two, else as channels. MediaPipe's depth is relative to the wrist for each hand
    and to the hips for the pose, so a mixture of them keeps only x and y. Of a face only the lips are kept, as the last
    landmarks; visibility is dropped, and a point of visibility 0 is missing.
    """
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, which the readers report
        frames = np.asarray(frames, dtype=np.float32)
    if frames.ndim == 2:
        size = frames.shape[1]
        if size in _VECTORS:
            landmarks = _join(_split_vector(frames, _VECTORS[size]))
        else:
            coords = next(count for count in (3, 2, 1) if size % count == 0)
            landmarks = frames.reshape(len(frames), size // coords, coords)
    else:
        landmarks = _drop_visibility(frames)
        if landmarks.shape[1] in _ARRAYS and landmarks.shape[2] in (2, 3):
            landmarks = _join(_split_array(landmarks, _ARRAYS[landmarks.shape[1]]))
    layout = layout_for(*landmarks.shape[1:])
    return mark_missing(landmarks, layout), layout


def _split_vector(frames: np.ndarray, sizes: tuple[tuple[str, int], ...]) -> dict[str, np.ndarray]:
    parts, start = {}, 0
    for name, numbers in sizes:
        stop = start + _POINTS[name] * numbers
        parts[name] = _drop_visibility(frames[:, start:stop].reshape(len(frames), _POINTS[name], numbers))
        start = stop
    return parts


def _split_array(landmarks: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    edges = np.cumsum([_POINTS[name] for name in names])[:-1]
    return dict(zip(names, np.split(landmarks, edges, axis=1), strict=True))


def _join(parts: dict[str, np.ndarray]) -> np.ndarray:
    """Return the parts as one array in the order of `_POINTS`; several parts without depth."""
    if "face" in parts:
        parts = {**parts, "face": parts["face"][:, list(LIPS)]}
    coords = 2 if len(parts) > 1 else 3
    return np.concatenate([parts[name][..., :coords] for name in _POINTS if name in parts], axis=1)


def _drop_visibility(landmarks: np.ndarray) -> np.ndarray:
    """Return points without the fourth number, their visibility; a point of visibility 0 is missing."""
    if landmarks.shape[2] != 4:
        return landmarks
    return np.where(landmarks[..., 3:] == 0, np.float32(np.nan), landmarks[..., :3])


def mark_missing(landmarks: np.ndarray, layout: LandmarkLayout) -> np.ndarray:
    """Return the landmarks with NaN for each part that is all zeros in a frame: trackers write a missing part so.

    The parts are those of the layout, and the landmarks between them. A part of one point stays as it is: a track that
    starts at its origin is not missing. Channels that are not positions stay too.
    """
    landmarks = np.array(landmarks, dtype=np.float32)
    if not layout.spatial:
        return landmarks
    edges = sorted({0, layout.num_landmarks, *(edge for first, stop, _ in layout.parts for edge in (first, stop))})
    for first, stop in itertools.pairwise(edges):
        if stop - first > 1:
            part = landmarks[:, first:stop]
            part[(part == 0).all(axis=(1, 2))] = np.nan
    return landmarks

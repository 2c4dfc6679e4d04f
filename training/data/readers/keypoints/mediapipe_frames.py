"""The landmarks of a frame in the results of MediaPipe, as programs write them to JSON.

The results are HandLandmarkerResult, GestureRecognizerResult, PoseLandmarkerResult and HolisticLandmarkerResult of
https://ai.google.dev/edge/api/mediapipe, in Python's names (`hand_landmarks`) or JavaScript's (`landmarks`, `handednesses`),
and those of the older solutions (`multi_hand_landmarks`). A hand is left or right as its handedness says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from ...layouts.mediapipe import LIPS

PLACES = {"pose": slice(0, 33), "left_hand": slice(33, 54), "right_hand": slice(54, 75), "face": slice(75, 115)}
"""Where the parts stand in the landmarks of a frame; of a face only the lips."""
NUM_POINTS = 115

_SIDED = {
    "poselandmarks": "pose",
    "lefthandlandmarks": "left_hand",
    "righthandlandmarks": "right_hand",
    "facelandmarks": "face",
}
_HANDS = ("handlandmarks", "multihandlandmarks", "landmarks", "hands")
_HANDEDNESS = ("handedness", "handednesses", "multihandedness")
_INSIDE = ("result", "results", "landmarks", "data", "detection")
"""Keys under which a frame may hold its result beside a time and a number."""
_PARTS = {33: "pose", 21: "hand", 468: "face", 478: "face"}


class FrameFault(Exception):  # noqa: N818 - what is wrong with a frame, for a message that says where
    """Why a frame cannot be read."""


def plain(key: object) -> str:
    """Return a key without the differences between languages: `handLandmarks` and `hand_landmarks` are one."""
    return re.sub(r"[_\s-]", "", str(key)).lower()


def result_of(value: object) -> dict[str, Any] | None:
    """Return the result that a frame is or holds, by plain keys, or `None` if it is none."""
    if not isinstance(value, dict):
        return None
    keys = {plain(key): content for key, content in value.items()}
    if any(key in keys for key in (*_SIDED, "handlandmarks", "multihandlandmarks")):
        return keys
    if any(key in keys for key in ("landmarks", "hands")) and isinstance(
        keys.get("landmarks", keys.get("hands")), list
    ):
        is_result = any(key in keys for key in (*_HANDEDNESS, "worldlandmarks", "gestures", "hands"))
        if is_result or _has_bodies(keys["landmarks"]):
            return keys
    return next((found for key in _INSIDE if (found := result_of(keys.get(key))) is not None), None)


def _has_bodies(value: list[Any]) -> bool:
    """Return whether a list is one of hands or poses, each a list of points."""
    bodies = [body for body in value if body]
    return bool(bodies) and all(
        isinstance(body, list) and len(body) in _PARTS and _is_point(body[0]) for body in bodies
    )


def read_result(result: dict[str, Any], values: np.ndarray, counts: Counter[str]) -> set[str]:
    """Write the landmarks of a frame to `values`, float32 [115, 3] of NaN, and return the parts it has.

    A hand of unknown side is the part `hand`, in the place of the right one. Raises `FrameFault`.
    """
    parts: dict[str, np.ndarray] = {}
    for key, part in _SIDED.items():
        bodies = list(_bodies(result.get(key)))
        counts["several_people"] += len(bodies) > 1
        if bodies:
            parts[part] = bodies[0]
    for part, body in _hands(result, counts):
        parts.setdefault(part, body)
    parts = {part: body for part, body in parts.items() if body.any()}  # all zeros stand for a part that was not found
    for part, body in parts.items():
        expected = (468, 478) if part == "face" else (33,) if part == "pose" else (21,)
        if len(body) not in expected:
            raise FrameFault(f"{part.replace('_', ' ')} of {len(body)} points, where MediaPipe gives {expected[0]}")
        place = PLACES["right_hand" if part == "hand" else part]
        values[place, : body.shape[1]] = body[list(LIPS)] if part == "face" else body
        counts["without_depth"] += body.shape[1] == 2
    counts["world"] += any("world" in key and content for key, content in result.items())
    return set(parts)


def _hands(result: dict[str, Any], counts: Counter[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the hands by their sides, and a pose or a face that stands under `landmarks`; of two hands of a side the surer."""
    key = next((key for key in _HANDS if key in result), None)
    if key is None or isinstance(result[key], dict):
        return
    content = result[key] or []
    bodies = list(_bodies(content))
    if bodies and len(bodies[0]) != 21:
        counts["several_people"] += len(bodies) > 1
        yield _PARTS.get(len(bodies[0]), "hand"), bodies[0]
        return
    said = next((result[name] for name in _HANDEDNESS if result.get(name)), None)
    if said is None and all(isinstance(hand, dict) for hand in content):
        said = [hand.get("handedness", hand.get("label", hand.get("hand"))) for hand in content]
    sides = [_side(entry) for entry in said] if isinstance(said, list) else []
    if len(bodies) > 1 and len(sides) < len(bodies):
        raise FrameFault(f"{len(bodies)} hands and {len(sides)} times handedness, so left and right are not known")
    sides += [("hand", 0.0)] * (len(bodies) - len(sides))
    order = sorted(range(len(bodies)), key=lambda index: -sides[index][1])
    counts["same_side"] += len({side for side, _ in sides[: len(bodies)]}) < len(bodies)
    for index in order:
        yield sides[index][0], bodies[index]


def _side(entry: object) -> tuple[str, float]:
    """Return `left_hand`, `right_hand` or `hand`, and how sure that is, of a handedness in any of its forms."""
    while isinstance(entry, list) and entry:
        entry = entry[0]
    if isinstance(entry, dict):
        keys = {plain(key): value for key, value in entry.items()}
        for inner in ("classification", "categories"):
            if keys.get(inner):
                return _side(keys[inner])
        score = keys.get("score", 0.0)
        entry = next((keys[key] for key in ("categoryname", "displayname", "label", "hand") if keys.get(key)), "")
    else:
        score = 0.0
    side = str(entry).strip().lower()
    return (f"{side}_hand" if side in ("left", "right") else "hand"), float(score or 0.0)


def _bodies(value: object) -> Iterator[np.ndarray]:
    """Yield the bodies in a value, each [points, 2 or 3]: a list of points, a list of such lists, or an object with one."""
    if isinstance(value, dict):
        keys = {plain(key): content for key, content in value.items()}
        yield from _bodies(keys.get("landmark", keys.get("landmarks", keys.get("keypoints"))))
    elif isinstance(value, list) and value:
        if _is_point(value[0]):
            yield _points(value)
        else:
            for body in value:
                yield from _bodies(body)
    elif value:
        raise FrameFault(f"{type(value).__name__} in the place of landmarks")


def _is_point(value: object) -> bool:
    return (isinstance(value, dict) and "x" in value) or (
        isinstance(value, list) and 2 <= len(value) <= 5 and all(isinstance(number, int | float) for number in value)
    )


def _points(points: list[Any]) -> np.ndarray:
    """Return points as float32 [points, 2 or 3]; a fourth number is the visibility, which is left out."""
    try:
        if isinstance(points[0], dict):
            axes = ("x", "y", "z") if all("z" in point for point in points) else ("x", "y")
            rows = [[point[axis] for axis in axes] for point in points]
        else:
            rows = [point[:3] for point in points]
        return np.array(rows, dtype=np.float32)
    except (TypeError, ValueError, KeyError):
        raise FrameFault("landmarks that are not x, y and z") from None

"""Clips whose landmarks are known, as a tracker gives them, and the numbers that programs write of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slipway.training.data.layouts.mediapipe import LIPS

SIZES = {"hand": 21, "left_hand": 21, "right_hand": 21, "pose": 33, "face": 468}
HANDS = ("left_hand", "right_hand")
POSE_HANDS = ("pose", *HANDS)
HOLISTIC = ("pose", "face", *HANDS)
ISLR = ("face", "left_hand", "pose", "right_hand")
WORDS = ("hello", "thanks", "yes")

_SPREAD = {"pose": 0.3, "face": 0.05}
_ORDER = ("hand", *POSE_HANDS, "face")

Body = dict[str, np.ndarray]
"""The parts of a clip, each float64 [frames, points, 3], of five decimals, NaN where the part was not found."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A clip and all that is known of it."""

    body: Body
    label: str
    number: int
    """Of the clip in its class, from 0."""
    class_number: int


def clips_of(
    *parts: str,
    frames: int | Sequence[int] = 6,
    clips: int = 4,
    words: Sequence[str] = WORDS,
    pixels: bool = False,
    centred: bool = False,
    lost: str = "",
    seed: int = 0,
) -> list[Clip]:
    """Return some clips of each word: a shape of the word at a place of the clip, which moves.

    `frames` may be a count for each clip of a class, `centred` subtracts the first point of each part, and `lost` is a
    part that is not found in the first frame of each clip.
    """
    rng = np.random.default_rng(seed)
    shapes = [{part: _shape(part, rng) for part in parts} for _ in words]
    found = []
    for class_number, word in enumerate(words):
        for number in range(clips):
            length = frames if isinstance(frames, int) else frames[number]
            body = {}
            for part in parts:
                points = shapes[class_number][part] + rng.normal(0, 0.004, (length, SIZES[part], 3))
                points[..., :2] += rng.uniform(0.4, 0.6, 2)
                if part.endswith("hand"):
                    points[:, 0, 2] = 0.0  # MediaPipe measures depth from the wrist
                if pixels:
                    points[..., :2] *= 640
                if centred:
                    points -= points[:, :1]
                points = points.round(5)
                if part == lost:
                    points[0] = np.nan
                body[part] = points
            found.append(Clip(body=body, label=word, number=number, class_number=class_number))
    return found


def _shape(part: str, rng: np.random.Generator) -> np.ndarray:
    size = _SPREAD.get(part, 0.08)
    return rng.uniform(-size, size, (SIZES[part], 3))


def numbers(clip: Clip, form: str, *, missing: float = 0.0, order: Sequence[str] = (), seed: int = 0) -> np.ndarray:
    """Return the points of a clip one behind the other, [frames, points, numbers of a point].

    `form` is xy, xyz, xyzv (visibility 0 but for a pose) or xyc; a point that was not found has `missing` in all numbers.
    """
    rng = np.random.default_rng(seed + 100 * clip.class_number + clip.number)
    blocks = []
    for part in order or clip.body:
        points = clip.body[part]
        block = points[..., : 3 if form.startswith("xyz") else 2]
        if form[-1] in "vc":
            flags = rng.uniform(0.3, 1.0, (*points.shape[:2], 1)).round(5)
            if form == "xyzv" and part != "pose":
                flags[:] = 0.0
            block = np.concatenate([block, np.where(np.isnan(points[..., :1]), np.nan, flags)], axis=2)
        blocks.append(block)
    values = np.concatenate(blocks, axis=1)
    return np.where(np.isnan(values), missing, values)


def flat(clip: Clip, *forms: str, missing: float = 0.0) -> np.ndarray:
    """Return the numbers of each frame, [frames, numbers], of parts with a form each (or one for all)."""
    parts = list(clip.body)
    forms = forms if len(forms) > 1 else forms * len(parts)
    blocks = [numbers(clip, form, missing=missing, order=(part,)) for part, form in zip(parts, forms, strict=True)]
    return np.concatenate([block.reshape(len(block), -1) for block in blocks], axis=1)


def truth(clip: Clip, coords: int = 3, *, kept: Sequence[str] = ()) -> np.ndarray:
    """Return the landmarks that are to be understood, float32 [frames, landmarks, coords].

    Of several parts x and y, in one order; of a face beside others the lips.
    """
    parts = kept or [part for part in _ORDER if part in clip.body]
    several = len(parts) > 1
    blocks = [clip.body[part][:, list(LIPS)] if part == "face" and several else clip.body[part] for part in parts]
    return np.concatenate(blocks, axis=1)[..., : min(coords, 2) if several else coords].astype(np.float32)

"""The people in a JSON file of OpenPose: the points of the upper body and the hands of one of them.

The format is https://github.com/CMU-Perceptual-Computing-Lab/openpose/blob/master/doc/02_output.md: `people` is a list, or
in AI-Hub's sets one object; each part is x, y, confidence of its points in a row, and a confidence of 0 is a missing point.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ....common.errors import UserError
from ...layouts.openpose import HAND, OPENPOSE_PARTS, UPPER_BODY
from ...text import natural_key

SUFFIX = "_keypoints.json"
NUM_POINTS = len(UPPER_BODY) + 2 * len(HAND)

_FRAME = re.compile(r"(?P<clip>.*?)_?(?P<number>[0-9]+)_keypoints\.json", re.IGNORECASE)
# The model of the body by the count of its points, and which of them are `UPPER_BODY`.
_BODIES = {25: [*range(8), *range(15, 19)], 18: [*range(8), *range(14, 18)]}
_KEYS = dict(zip(OPENPOSE_PARTS, ("pose_keypoints", "hand_left_keypoints", "hand_right_keypoints"), strict=True))
_PLACES = {"pose": slice(0, 12), "left_hand": slice(12, 33), "right_hand": slice(33, 54)}


@dataclass(kw_only=True)
class Seen:
    """What was met while frames were read."""

    parts: set[str] = field(default_factory=set)
    has_face: bool = False
    num_without_people: int = 0
    num_with_several: int = 0

    def notes(self) -> list[str]:
        """Return what was decided and left out."""
        notes = ["a point of confidence 0 is missing; x and y are kept"]
        if "pose" in self.parts:
            notes.append("of the body the 12 points above the hips are kept")
        if self.has_face:
            notes.append("the face is left out")
        if self.num_without_people:
            notes.append(f"{self.num_without_people:,} frames without people are missing frames")
        if self.num_with_several:
            notes.append(
                f"in {self.num_with_several:,} frames with several people the one of highest confidence is kept"
            )
        return notes


def frame_number(name: str) -> tuple[str, int]:
    """Return the clip and the number of a frame by the name of its file: `a_000000000007_keypoints.json`; -1 without one."""
    match = _FRAME.fullmatch(name)
    return (match["clip"], int(match["number"])) if match else (name[: -len(SUFFIX)], -1)


def clips_of_folder(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the files of a folder by the clip in their names, in the order of their frames."""
    clips: dict[str, list[str]] = {}
    for name in sorted(names, key=natural_key):
        clips.setdefault(frame_number(name)[0], []).append(name)
    return clips


def read_frame(file: Path, values: np.ndarray, seen: Seen) -> None:
    """Write the points of a frame to `values`, float32 [54, 2] of NaN. Raises `UserError` for a file of another form."""
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, OSError) as error:
        raise UserError(f"{file}: is not complete JSON ({error}); write it again or remove it") from None
    people = content.get("people") if isinstance(content, dict) else None
    if isinstance(people, dict):
        people = [people]
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise UserError(f"{file}: has no list of people, as OpenPose writes it with --write_json")
    bodies = [dict(_parts(person, file)) for person in people]
    seen.has_face |= any(person.get("face_keypoints_2d") or person.get("face_keypoints") for person in people)
    seen.num_with_several += len(people) > 1
    if not any(bodies):
        seen.num_without_people += 1
        return
    best = max(bodies, key=lambda body: sum(float(points[:, 2].sum()) for points in body.values()))
    for part, points in best.items():
        seen.parts.add(part)
        values[_PLACES[part]] = np.where(points[:, 2:] > 0, points[:, :2], np.float32(np.nan))


def _parts(person: dict[str, Any], file: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the parts of a person that are there, [points, 3]."""
    for part, key in _KEYS.items():
        numbers = person.get(f"{key}_2d", person.get(key)) or []
        if not numbers:
            continue
        try:
            points = np.array(numbers, dtype=np.float32).reshape(-1, 3)
        except (ValueError, TypeError):
            raise UserError(f"{file}: {key} is not x, y, confidence of each point") from None
        if part == "pose" and len(points) in _BODIES:
            yield part, points[_BODIES[len(points)]]
        elif part != "pose" and len(points) == len(HAND):
            yield part, points
        else:
            expected = "25 (BODY_25) or 18 (COCO)" if part == "pose" else "21"
            raise UserError(f"{file}: {key} has {len(points)} points; {expected} are read")


def only_seen(values: np.ndarray, seen: Seen) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the values of the parts that occur in any frame, and these parts."""
    parts = tuple(part for part in OPENPOSE_PARTS if part in seen.parts) or OPENPOSE_PARTS
    if parts == OPENPOSE_PARTS:
        return values, parts
    return np.concatenate([values[:, _PLACES[part]] for part in parts], axis=1), parts

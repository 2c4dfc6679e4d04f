"""What one file of a folder is, by the shapes of all of them: a frame, or a clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ....common.errors import UserError
from ...specs import Reading

FRAME = "frame"
CLIP = "clip"

MOST_COORDS = 4
"""x, y, z and visibility."""
KNOWN_POINTS = frozenset((21, 33, 42, 54, 67, 75, 133, 137, 468, 478, 501, 510, 543, 553))
"""Counts of points that trackers give: hands, a pose, a face, and what they are joined to."""
_HANDS = 2


@dataclass(frozen=True, kw_only=True)
class Form:
    """What each file of a folder is."""

    kind: str
    """`FRAME` or `CLIP`."""
    shape: tuple[int, ...]
    """The commonest shape."""
    example: str
    """A file of this shape."""
    frame_shape: tuple[int, ...]
    """[numbers] or [points, coords]."""
    notes: tuple[str, ...] = ()

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether a file of this shape is of this form."""
        if self.kind == FRAME:
            return shape == self.shape
        return len(shape) == len(self.shape) and shape[1:] == self.shape[1:]

    def frames(self, shape: tuple[int, ...]) -> int:
        """Return the count of frames in a file of this shape."""
        return 1 if self.kind == FRAME else shape[0]


def form_of(path: Path, shapes: Mapping[str, tuple[int, ...]], depth: int, reading: Reading) -> Form:
    """Return the form of files below `path`, by their names, with `depth` folders above each.

    Raises `UserError` for a shape that is neither a frame nor a clip, and where it is not certain which it is.
    """
    counts = Counter(shapes.values())
    shape, count = counts.most_common(1)[0]
    example = next(file for file, of_file in shapes.items() if of_file == shape)

    def form(kind: str, frame_shape: tuple[int, ...], *notes: str) -> Form:
        return Form(kind=kind, shape=shape, example=example, frame_shape=frame_shape, notes=notes)

    plain = shape
    if len(plain) > 1 and plain[0] == 1 and 2 * count >= len(shapes):
        plain = plain[1:]
        if len(plain) > 1 or plain[0] > MOST_COORDS:
            return form(FRAME, plain)
    if len(plain) > 1 and plain[-1] == 1:
        plain = plain[:-1]
    if 0 in shape or not shape or len(plain) > 3:
        raise _neither(path, example, shape)
    if len(plain) == 1:
        return form(FRAME, plain)
    if len(plain) == 2 and plain[1] > MOST_COORDS:
        return form(CLIP, plain[1:])
    if len(plain) == 3:
        if plain[2] > MOST_COORDS:
            raise _neither(path, example, shape)
        if plain[:2] == (_HANDS, 21) and len(counts) == 1 and reading.landmarks != "hand":
            if reading.landmarks == "hands":
                return form(FRAME, (_HANDS * 21, plain[2]))
            raise UserError(
                f"{path / example}: {list(shape)} may be both hands in one frame, or one hand in two frames; "
                "say --landmarks hands or --landmarks hand"
            )
        return form(CLIP, plain[1:])
    # [a, b] with b up to 4: points of one frame, or frames of a few numbers.
    is_points = reading.landmarks in ("hand", "hands", "pose", "holistic", "points") or reading.coords != "auto"
    if reading.landmarks == "channels" or (not is_points and len(counts) > 1 and 2 * count < len(shapes)):
        return form(CLIP, plain[1:])
    if is_points or plain[0] in KNOWN_POINTS or depth > 1:
        return form(FRAME, plain)
    raise UserError(
        f"{path / example}: {list(shape)} may be {plain[0]} points of one frame or {plain[0]} frames of {plain[1]} numbers; "
        f"say --landmarks points or --landmarks channels, or store clips as [frames, points, coords]"
    )


def _neither(path: Path, example: str, shape: tuple[int, ...]) -> UserError:
    return UserError(
        f"{path / example}: shape {list(shape)}; a frame is a vector or [points, coords], "
        "a clip is [frames, numbers] or [frames, points, coords]; store each clip in a file of its own"
    )

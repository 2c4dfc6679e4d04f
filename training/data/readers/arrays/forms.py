"""What one file of a folder is, by the shapes of all of them: a frame, or a clip."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ....common.errors import UserError
from ...specs import Reading

FRAME = "frame"
CLIP = "clip"
CLIPS = "clips"

MOST_COORDS = 4
"""x, y, z and visibility."""
KNOWN_POINTS = frozenset((21, 33, 42, 54, 67, 75, 133, 137, 468, 478, 501, 510, 543, 553))
"""Counts of points that trackers give: hands, a pose, a face, and what they are joined to."""
_HANDS = 2


@dataclass(frozen=True, kw_only=True)
class Form:
    """What each file of a folder is."""

    kind: str
    """`FRAME`, `CLIP`, or `CLIPS` of equal length."""
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
        first = len(self.shape) - len(self.frame_shape)
        return len(shape) == len(self.shape) and shape[first:] == self.shape[first:]

    def clips(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the count of clips in a file of this shape, 1 also for a frame, and the frames of each."""
        if self.kind == CLIPS:
            return shape[0], shape[1] if len(shape) - len(self.frame_shape) > 1 else 1
        return 1, 1 if self.kind == FRAME else shape[0]

    def frames(self, shape: tuple[int, ...]) -> int:
        """Return the count of frames in a file of this shape."""
        clips, frames = self.clips(shape)
        return clips * frames


def form_of(
    path: Path, shapes: Mapping[str, tuple[int, ...]], depth: int, reading: Reading, *, may_hold_several: bool = False
) -> Form:
    """Return the form of files below `path`, by their names, with `depth` folders above each.

    Raises `UserError` for a shape that is neither a frame nor a clip, and where it is not certain which it is.
    """
    counts = Counter(shapes.values())
    shape, count = counts.most_common(1)[0]
    example = next(file for file, of_file in shapes.items() if of_file == shape)

    def form(kind: str, frame_shape: tuple[int, ...], *notes: str) -> Form:
        return Form(kind=kind, shape=shape, example=example, frame_shape=frame_shape, notes=notes)

    if _has_coords_first(shapes.values()):
        raise _coords_first(path, example, shape)
    if 0 not in shape and len(shape) == 4 and shape[1:3] == (_HANDS, 21) and shape[3] <= MOST_COORDS:
        note = f"each frame holds both hands, as {example} {list(shape)}"
        return form(CLIP, (_HANDS * 21, shape[3]), note)
    if may_hold_several and _is_several(shape):
        note = f"each file holds clips, as {example} {list(shape)}: {shape[0]} of {shape[1]} frames"
        return form(CLIPS, shape[2:], note)
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


def _is_several(shape: tuple[int, ...]) -> bool:
    """Return whether a shape is [clips, frames, numbers] or [clips, frames, points, coords]."""
    if 0 in shape or len(shape) not in (3, 4) or shape[1] < 3:
        return False
    return shape[2] > MOST_COORDS if len(shape) == 3 else 1 < shape[3] <= MOST_COORDS


def _has_coords_first(shapes: Iterable[tuple[int, ...]]) -> bool:
    """Return whether files may be [coords, frames, points] or [coords, frames, points, bodies], as of graph networks."""
    found = set(shapes)
    ends = {(shape[0], shape[2], *shape[3:]) if len(shape) in (3, 4) else () for shape in found}
    end = ends.pop() if len(ends) == 1 else ()
    return len(end) > 1 and end[0] in (2, 3) and end[1] > MOST_COORDS and end[2:] in ((), (1,), (2,))


def _coords_first(path: Path, example: str, shape: tuple[int, ...]) -> UserError:
    source, target = (json.dumps(str(place), ensure_ascii=False) for place in (path, f"{path}_turned"))
    body = "[..., 0]" if len(shape) == 4 else ""
    program = (
        f"import numpy as np; from pathlib import Path; s, t = Path({source}), Path({target}); "
        "[((t / f.relative_to(s)).parent.mkdir(parents=True, exist_ok=True), "
        f'np.save(t / f.relative_to(s), np.load(f){body}.transpose(1, 2, 0))) for f in s.rglob("*.npy")]'
    )
    several = (
        "" if len(shape) == 4 else f", or {shape[0]} clips of {shape[1]} frames: then store each in a file of its own"
    )
    return UserError(
        f"{path / example}: {list(shape)} may be [coords, frames, points{', bodies' if len(shape) == 4 else ''}]; bring the "
        f"axes into the order [frames, points, coords]{several}:\n  python -c {shlex.quote(program)}\n"
        f"  slipway data inspect {shlex.quote(f'{path}_turned')}"
    )


def _neither(path: Path, example: str, shape: tuple[int, ...]) -> UserError:
    return UserError(
        f"{path / example}: shape {list(shape)}; a frame is a vector or [points, coords], "
        "a clip is [frames, numbers] or [frames, points, coords]; store each clip in a file of its own"
    )

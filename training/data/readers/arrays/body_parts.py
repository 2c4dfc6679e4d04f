"""Arrays that are the parts of a body, `pose`, `left_hand`, `right_hand`, `face`, each [frames, ...]: joined they are a clip.

They stand in one archive, `np.savez(file, pose=..., left_hand=..., right_hand=...)`, or in a folder of `.npy` files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ....common.errors import UserError
from ...layouts.mediapipe import ORDER, PART_NAMES, POINTS
from ...text import listing_of, nfc
from ..numpy_files import StoredArray, stored_arrays
from .folder_tree import Leaf, Tree
from .forms import MOST_COORDS

_AXES = "xyzv"
_ENDING = re.compile(r"[\s_.-]*(?:landmarks?|keypoints?|points|kps?)$")


def parts_among(names: Iterable[str]) -> dict[str, str]:
    """Return the names that are those of parts of a body, by the part, in the usual order; none if it is fewer than two."""
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[\s.-]+", "_", _ENDING.sub("", nfc(name).lower()))
        if (part := PART_NAMES.get(plain)) is not None:
            found.setdefault(part, name)
    return {part: found[part] for part in ORDER if part in found} if len(found) > 1 else {}


@dataclass(frozen=True, kw_only=True)
class JoinedParts:
    """A clip of which each part of the body is an array."""

    parts: tuple[str, ...]
    arrays: tuple[StoredArray, ...]
    shape: tuple[int, int]
    """[frames, numbers]."""
    names: tuple[str, ...]
    """Those of the numbers: left_hand_0_x."""

    def read_into(self, out: np.ndarray) -> None:
        """Write its numbers into `out`, float32 and contiguous, of as many elements."""
        frames, first = out.reshape(self.shape), 0
        for array in self.arrays:
            values = np.empty((self.shape[0], array.header.size // self.shape[0]), dtype=np.float32)
            array.read_into(values)
            frames[:, first : first + values.shape[1]] = values
            first += values.shape[1]


def join_parts(source: object, arrays: Mapping[str, StoredArray]) -> JoinedParts:
    """Return the clip of arrays by their part. Raises `UserError` for parts of unequal length."""
    frames, names = names_of_parts(source, {part: array.shape for part, array in arrays.items()})
    return JoinedParts(
        parts=tuple(arrays), arrays=tuple(arrays.values()), shape=(frames, len(names)), names=tuple(names)
    )


def open_folder(folder: Path) -> JoinedParts:
    """Return the clip in a folder with an `.npy` for each part. Raises `UserError`."""
    files = {Path(name).stem: folder / name for name in listing_of(folder).files if name.lower().endswith(".npy")}
    arrays = {part: stored_arrays(files[name])[0] for part, name in parts_among(files).items()}
    for array in arrays.values():
        if not array.header.is_numbers:
            raise UserError(f"{array}: holds {array.header.dtype}, not numbers; store arrays of numbers")
    return join_parts(folder, arrays)


def with_folders_as_clips(tree: Tree) -> Tree | None:
    """Return a tree in which each folder of parts is a clip; `None` if some folder holds anything else."""
    if tree.depth < 2 or any(
        len(parts_among(Path(name).stem for name in leaf.files)) < len(leaf.files) for leaf in tree.leaves
    ):
        return None
    clips: dict[tuple[str, ...], list[str]] = {}
    for leaf in tree.leaves:
        clips.setdefault(leaf.parts[:-1], []).append(leaf.parts[-1])
    return replace(tree, leaves=[Leaf(parts, names) for parts, names in clips.items()], depth=tree.depth - 1)


def names_of_parts(source: object, shapes: Mapping[str, Sequence[int]]) -> tuple[int, list[str]]:
    """Return the frames of a clip, and the names of the numbers of a frame, by the shape of each part.

    A part is [frames, points, coords], [frames, numbers] or, of one frame, [points, coords]. Raises `UserError`.
    """
    is_frame = all(len(shape) == 2 and shape[1] <= MOST_COORDS for shape in shapes.values())
    lengths, names = {}, []
    for part, shape in shapes.items():
        lengths[part] = 1 if is_frame else shape[0] if shape else 0
        count = int(np.prod(shape[0 if is_frame else 1 :]))
        points = shape[-2] if len(shape) == 3 or is_frame else len(POINTS[part])
        coords, rest = divmod(count, points) if points else (0, 1)
        if rest or not 2 <= coords <= MOST_COORDS:
            raise UserError(
                f"{source}: {part} {list(shape)} is not [frames, points, coords]; of {len(POINTS[part])} points "
                "write x, y or x, y, z of each"
            )
        names += [f"{part}_{point}_{axis}" for point in range(points) for axis in _AXES[:coords]]
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{part} {list(shape)}" for part, shape in shapes.items())
        raise UserError(
            f"{source}: its parts have different counts of frames ({shown}); write NaN where a part is not seen"
        )
    return next(iter(lengths.values())), names

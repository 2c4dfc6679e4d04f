"""Reads one file of one clip, whatever it is: `.npy`, `.npz`, a CSV, a Parquet file or JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ....common.errors import UserError
from ...text import LANDMARK_COLUMNS, find_column, read_text
from ..numpy_files import StoredArray, stored_arrays
from .columns import FRAME_COLUMNS, INDEX_COLUMNS, TIME_COLUMNS
from .number_table import Form, read_numbers

SUFFIXES = (".npy", ".npz", ".csv", ".tsv", ".parquet", ".json")

_NAMES = (*LANDMARK_COLUMNS, "landmark", "keypoint", "coords", "coordinates", "features", "x", "arr0", "frames")
_NOT_NUMBERS = (*FRAME_COLUMNS, *TIME_COLUMNS, *INDEX_COLUMNS)
_AXES = ("x", "y", "z")
_LONG_FORM = ("landmarkindex", "landmarkid", "landmark", "keypoint", "joint")


class ClipFile(Protocol):
    """A file of one clip."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its numbers."""

    def read_into(self, out: np.ndarray) -> None:
        """Write its numbers into `out`, float32 and contiguous, of as many elements."""


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    """A clip of a file whose shape is known only when it is read."""

    values: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def read_into(self, out: np.ndarray) -> None:
        out.reshape(-1)[...] = self.values.reshape(-1)


def open_clip(file: Path, encoding: str | None) -> ClipFile:
    """Return the clip in a file; of NumPy's files only the header is read. Raises `UserError` for what is no clip."""
    suffix = file.suffix.lower()
    if suffix in (".npy", ".npz"):
        return _of_arrays(file)
    if suffix == ".parquet":
        return _Loaded(values=_of_parquet(file))
    if suffix == ".json":
        return _Loaded(values=_of_json(file, encoding))
    return _Loaded(values=_of_table(file, encoding))


def _of_arrays(file: Path) -> StoredArray:
    arrays = stored_arrays(file)
    numbers = [array for array in arrays if array.header.is_numbers]
    index = find_column([array.name for array in numbers], _NAMES)
    if index is None and len(numbers) > 1:
        several = [array for array in numbers if len(array.shape) > 1]
        if len(several) == 1:
            return several[0]
        shown = ", ".join(f"{array.name} {list(array.shape)}" for array in numbers)
        raise UserError(f"{file}: holds several arrays ({shown}); name that of the clip landmarks")
    if not numbers:
        kind = (
            "pickled objects, which are not read"
            if any(array.header.dtype.hasobject for array in arrays)
            else "no numbers"
        )
        raise UserError(f"{file}: holds {kind}; store an array of numbers")
    return numbers[index or 0]


def _of_table(file: Path, encoding: str | None) -> np.ndarray:
    """Return the rows of a table, a frame each: all its columns but numbers of frames and times."""
    form = Form.of(file, encoding)
    first = form.rows[0]
    has_header = not all(map(form.is_number, first)) or first == [str(index) for index in range(len(first))]
    numbers = [
        index
        for index, name in enumerate(first)
        if not has_header or (name and find_column([name], _NOT_NUMBERS) is None)
    ]
    return read_numbers(form, has_header=has_header, texts=[], numbers=numbers).numbers


def _of_parquet(file: Path) -> np.ndarray:
    """Return [frames, numbers], or [frames, points, coords] of a table with a row for each point of a frame."""
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file}: cannot be read ({str(error).splitlines()[0]})") from None
    names = table.column_names
    frame = find_column(names, FRAME_COLUMNS)
    if frame is not None and find_column(names, _LONG_FORM) is not None and {"x", "y"} <= set(names):
        axes = [axis for axis in _AXES if axis in names]
        frames = table[names[frame]].to_numpy()
        changes = np.flatnonzero(np.diff(frames)) + 1
        sizes = np.diff([0, *changes, len(frames)])
        if len(set(sizes.tolist())) > 1:
            raise UserError(f"{file}: frames of {sizes.min()} to {sizes.max()} landmarks; each needs all of them")
        values = np.stack([table[axis].to_numpy() for axis in axes], axis=1)
        return values.astype(np.float32).reshape(len(sizes), -1, len(axes))
    numbers = [
        name
        for name, kind in zip(names, table.schema.types, strict=True)
        if (pa.types.is_floating(kind) or pa.types.is_integer(kind)) and find_column([name], _NOT_NUMBERS) is None
    ]
    if not numbers:
        raise UserError(f"{file}: no column of numbers; it has {', '.join(names)}")
    return np.stack([table[name].to_numpy() for name in numbers], axis=1).astype(np.float32)


def _of_json(file: Path, encoding: str | None) -> np.ndarray:
    """Return nested lists of numbers, or those under `landmarks`, `keypoints` or `frames`; points may be {x, y, z}."""
    try:
        content = json.loads(read_text(file, encoding))
        return np.array(_plain(content), dtype=np.float32)
    except (ValueError, TypeError):
        raise UserError(f"{file}: is not a clip as nested lists [frames][points][coords] of equal size") from None


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, dict):
        if "x" in value and "y" in value:
            return [_plain(value[axis]) for axis in _AXES if axis in value]
        index = find_column(list(value), _NAMES)
        if index is None:
            raise ValueError
        return _plain(list(value.values())[index])
    return float("nan") if value is None else float(value)

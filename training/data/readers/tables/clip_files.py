"""Reads one file of one clip, whatever it is: `.npy`, `.npz`, a CSV, a Parquet file or JSON."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ....common.errors import UserError
from ...text import LABEL_COLUMNS, LANDMARK_COLUMNS, find_column, read_text, split_of_file
from ..arrays.body_parts import JoinedParts, join_parts, open_folder, parts_among
from ..numpy_files import StoredArray, stored_arrays
from ..raw import cut
from ..walk import first_files
from .columns import FRAME_COLUMNS, INDEX_COLUMNS, TIME_COLUMNS
from .csv_rows import first_rows, is_number, to_float
from .number_table import Form, read_numbers

SUFFIXES = (".npy", ".npz", ".csv", ".tsv", ".parquet", ".json")

_NAMES = (*LANDMARK_COLUMNS, "landmark", "keypoint", "coords", "coordinates", "features", "x", "arr0", "frames")
TEXT = ".txt"
"""A frame a line, numbers between spaces or commas."""
_NOT_NUMBERS = (*FRAME_COLUMNS, *TIME_COLUMNS, *INDEX_COLUMNS)
_MOST_LOOKED_AT, _MOST_ROWS = 40, 10
"""Files, and rows of each, by which clips are recognised."""
_FEWEST_OF_TEXT = 8
"""Numbers of a line, so that a text of settings or boxes is not taken for frames."""
_AXES = ("x", "y", "z")
_PART_COLUMNS = ("type", "part", "bodypart", "landmarktype")
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
    names: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def read_into(self, out: np.ndarray) -> None:
        out.reshape(-1)[...] = self.values.reshape(-1)


def open_clip(file: Path, encoding: str | None) -> ClipFile:
    """Return the clip in a file or a folder of parts; of NumPy's files only the header is read. Raises `UserError`."""
    suffix = file.suffix.lower()
    if file.is_dir():
        return open_folder(file)
    if suffix in (".npy", ".npz"):
        return _of_arrays(file)
    if suffix == ".parquet":
        return _of_parquet(file)
    if suffix == TEXT:
        return _of_text(file)
    if suffix == ".json":
        return _Loaded(values=_of_json(file, encoding))
    return _of_table(file, encoding)


def names_of(clip: object) -> tuple[str, ...]:
    """Return the names of the numbers of a frame, those of a table's columns; empty if they have none."""
    return clip.names if isinstance(clip, _Loaded | JoinedParts) else ()


def parts_of(clip: object) -> tuple[str, ...] | None:
    """Return the parts of the body of which the arrays of a clip are; `None` for any other clip."""
    return clip.parts if isinstance(clip, JoinedParts) else None


def suffix_of_clips(path: Path) -> str | None:
    """Return the ending of the files below a folder if they certainly are a clip each, in folders of several; else `None`.

    Most of them are tables of the same columns of numbers, none of which may be the class, or archives of one array or of
    the parts of a body.
    """
    files = list(itertools.islice(first_files(path, ".csv", ".tsv", ".npz"), _MOST_LOOKED_AT))
    files = files or list(itertools.islice(first_files(path, TEXT), _MOST_LOOKED_AT))
    folders = Counter(file.parent for file in files)
    suffixes = {file.suffix.lower() for file in files}
    if path in folders or len(folders) < 2 or len(suffixes) > 1:
        return None
    is_deep = all(folder.parent != path for folder in folders)
    if max(folders.values()) == 1 and not is_deep:  # a data set in each folder
        return None
    if all(split_of_file(folder) for folder in folders):
        return None
    kind, count = Counter(map(_columns_of_clip, files)).most_common(1)[0]
    return suffixes.pop() if kind is not None and 2 * count > len(files) else None


def _columns_of_clip(file: Path) -> tuple[object, ...] | None:
    """Return what is alike in all clips, the columns of a table or nothing of an archive; `None` for another file."""
    if file.suffix.lower() == ".npz":
        try:
            arrays = stored_arrays(file)
        except UserError:
            return None
        if parts := _parts_of([array for array in arrays if array.header.is_numbers]):
            return tuple(parts)
        return () if len(arrays) == 1 and arrays[0].header.is_numbers and arrays[0].shape else None
    if file.suffix.lower() == TEXT:
        with file.open(encoding="utf-8", errors="replace") as lines:
            first = _cells(lines.readline(1 << 20))
        return (TEXT,) if len(first) >= _FEWEST_OF_TEXT and all(map(is_number, first)) else None
    rows = first_rows(file, _MOST_ROWS)
    if len(rows) < 2 or len(set(map(len, rows))) > 1 or len(rows[0]) < 2:
        return None
    if all(map(is_number, rows[0])):
        return None if _may_be_labels(rows) else (len(rows[0]),)
    passed = (*_NOT_NUMBERS, *_LONG_FORM, *(_PART_COLUMNS if None not in _frame_and_point(rows[0]) else ()))
    shown = [index for index, name in enumerate(rows[0]) if find_column([name], passed) is None]
    if find_column(rows[0], LABEL_COLUMNS) is not None or not all(
        is_number(row[index]) for row in rows[1:] for index in shown
    ):
        return None
    return tuple(rows[0])


def _may_be_labels(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first or the last column may be the class: whole numbers, unlike the others, that do not count."""
    columns = list(zip(*rows, strict=True))
    whole = [all(cell.strip().isdecimal() for cell in column) for column in columns]
    return not all(whole) and any(
        whole[place] and [int(cell) - int(columns[place][0]) for cell in columns[place]] != list(range(len(rows)))
        for place in (0, -1)
    )


def _parts_of(arrays: Sequence[StoredArray]) -> dict[str, StoredArray]:
    """Return the arrays of an archive that are the parts of a body, by part; none if another one is the whole clip."""
    names = parts_among(array.name for array in arrays)
    others = [array.name for array in arrays if array.name not in names.values()]
    if find_column(others, _NAMES) is not None:
        return {}
    return {part: next(array for array in arrays if array.name == name) for part, name in names.items()}


def _of_arrays(file: Path) -> ClipFile:
    arrays = stored_arrays(file)
    numbers = [array for array in arrays if array.header.is_numbers]
    if parts := _parts_of(numbers):
        return join_parts(file, parts)
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


def _of_table(file: Path, encoding: str | None) -> _Loaded:
    """Return the rows of a table, a frame each: all its columns but numbers of frames and times; or as `_of_points`."""
    form = Form.of(file, encoding)
    first = form.rows[0]
    has_header = not all(map(form.is_number, first)) or first == [str(index) for index in range(len(first))]
    frame, point = _frame_and_point(first)
    if has_header and frame is not None and point is not None:
        axes = [place for axis in _AXES if (place := find_column(first, (axis,))) is not None]
        part = find_column(first, _PART_COLUMNS)
        texts = [frame, point, *([] if part is None else [part])]
        table = read_numbers(form, has_header=True, texts=texts, numbers=axes)
        points = table.texts[point]
        if part is not None:
            points = [f"{of_part}_{number}" for of_part, number in zip(table.texts[part], points, strict=True)]
        clip = _of_points(file, np.array(table.texts[frame]), np.array(points), table.numbers)
        if part is None:
            return clip
        count = clip.shape[1]
        names = tuple(f"{name}_{axis}" for name in points[:count] for axis in _AXES[: len(axes)])
        return _Loaded(values=clip.values.reshape(len(clip.values), -1), names=names)
    numbers = [
        index
        for index, name in enumerate(first)
        if not has_header or (name and find_column([name], _NOT_NUMBERS) is None)
    ]
    values = read_numbers(form, has_header=has_header, texts=[], numbers=numbers).numbers
    return _Loaded(values=values, names=tuple(first[index] for index in numbers) if has_header else ())


def _cells(line: str) -> list[str]:
    return line.replace(",", " ").replace(";", " ").split()


def _of_text(file: Path) -> _Loaded:
    """Return the lines of a text of numbers, a frame each. Raises `UserError` for anything else."""
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        rows = [(number, cells) for number, line in enumerate(lines, start=1) if (cells := _cells(line))]
    width = len(rows[0][1]) if rows else 0
    for number, cells in rows:
        wrong = next((cell for cell in cells if not is_number(cell)), None)
        if wrong is not None:
            raise UserError(
                f"{file}, line {number}: {cut(wrong)} is not a number; correct it, or write nan for a missing one"
            )
        if len(cells) != width:
            raise UserError(
                f"{file}, line {number}: {len(cells)} numbers where line {rows[0][0]} has {width}; each line is a frame"
            )
    if not rows:
        raise UserError(f"{file}: holds no numbers; record it again or remove it")
    return _Loaded(values=np.array([[to_float(cell) for cell in cells] for _, cells in rows], dtype=np.float32))


def _frame_and_point(names: Sequence[str]) -> tuple[int | None, int | None]:
    """Return the columns of the frame and of the landmark, if a table has a row for each point of a frame."""
    frame, point = find_column(names, FRAME_COLUMNS), find_column(names, _LONG_FORM)
    return (frame, point) if {"x", "y"} <= {name.lower() for name in names} else (None, None)


def _of_points(file: Path, frames: np.ndarray, points: np.ndarray, values: np.ndarray) -> _Loaded:
    """Return [frames, points, coords] of rows that are a point each. Raises `UserError` for unequal frames."""
    changes = np.flatnonzero(frames[1:] != frames[:-1]) + 1
    sizes = np.diff([0, *changes, len(frames)])
    if len(set(sizes.tolist())) > 1:
        raise UserError(f"{file}: frames of {sizes.min()} to {sizes.max()} landmarks; each needs all of them")
    order = points.reshape(len(sizes), -1)
    if (order != order[0]).any():
        raise UserError(
            f"{file}: the landmarks of its frames stand in different orders; sort the rows by frame and landmark"
        )
    return _Loaded(values=values.astype(np.float32).reshape(len(sizes), -1, values.shape[1]))


def _of_parquet(file: Path) -> _Loaded:
    """Return [frames, numbers], or [frames, points, coords] of a table with a row for each point of a frame."""
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file}: cannot be read ({str(error).splitlines()[0]})") from None
    names = table.column_names
    frame, point = _frame_and_point(names)
    if frame is not None and point is not None:
        axes = [place for axis in _AXES if (place := find_column(names, (axis,))) is not None]
        values = np.stack([table[place].to_numpy() for place in axes], axis=1)
        return _of_points(file, table[frame].to_numpy(), table[point].to_numpy(), values)
    numbers = [
        name
        for name, kind in zip(names, table.schema.types, strict=True)
        if (pa.types.is_floating(kind) or pa.types.is_integer(kind)) and find_column([name], _NOT_NUMBERS) is None
    ]
    if not numbers:
        raise UserError(f"{file}: no column of numbers; it has {', '.join(names)}")
    values = np.stack([table[name].to_numpy() for name in numbers], axis=1).astype(np.float32)
    return _Loaded(values=values, names=tuple(numbers))


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

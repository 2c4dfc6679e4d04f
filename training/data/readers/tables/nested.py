"""Reads nested lists of numbers in columns of Arrow: clips of frames of landmarks. Looks for rows that Arrow cannot read."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ....common.errors import UserError
from ....common.small_files import open_regular, parse_json
from ..raw import Faults
from ..walk import files_by_folder

_MOST_INNER = 2
_ROWS = (".json", ".jsonl")
_ARROW_FILE = b"ARROW1"
"""How Arrow's files begin; its streams, which `datasets` writes, begin without."""
_LIST = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*\[")
_NULL_ROW = re.compile(rb"(?:\A(?:\xef\xbb\xbf)?|[\r\n])[ \t]*null")
_NULL_ITEM = re.compile(rb"[\[,][ \t\r\n]*null")


@dataclass(frozen=True, kw_only=True)
class NestedFrames:
    """The frames of a column end to end, float32 [total_frames, ...], and the frames of each row."""

    values: np.ndarray
    lengths: list[int]
    names: list[str] | None = None
    """Those of the numbers of a frame, if they are known."""

    @classmethod
    def of(
        cls, arrays: Iterable[pa.Array | pa.ChunkedArray], most_numbers: int, place: str, column: str, faults: Faults
    ) -> NestedFrames:
        """Return the clips of a column, whose rows come a part at a time; rows that are not even go to `faults`."""
        values = np.empty(most_numbers, dtype=np.float32)  # pages that are not written take no memory
        lengths: list[int] = []
        sizes: list[int] | None = None
        filled = row = 0
        for array in arrays:
            array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
            numbers, inner, of_rows = _unnest(array, place, row, faults)
            row += len(array)
            if numbers is None:
                continue
            if len(inner) > _MOST_INNER:
                raise UserError(f"{place}: column {column!r} is nested too deep; expected [frames][landmarks][coords]")
            if sizes is not None and inner and inner != sizes:
                faults.add(
                    f"{place}, rows {row - len(array)} to {row - 1}: frames of {inner}, where {sizes} are before"
                )
                continue
            sizes = inner or sizes
            with np.errstate(over="ignore"):  # a number too large becomes infinite, which is reported
                values[filled : filled + len(numbers)] = numbers
            filled += len(numbers)
            lengths += of_rows
        if not sizes and not len(faults):
            raise UserError(f"{place}: column {column!r} is empty")
        return cls(values=values[:filled].reshape(-1, *(sizes or [1])), lengths=lengths)


def count_numbers(array: pa.Array | pa.ChunkedArray) -> int:
    """Return how many numbers a nested array holds."""
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    total = 0
    for chunk in chunks:
        chunk = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
        while pa.types.is_nested(chunk.type) and hasattr(chunk, "flatten") and not pa.types.is_struct(chunk.type):
            chunk = chunk.flatten()
        total += len(chunk)
    return total


def _unnest(
    array: pa.Array, place: str, first_row: int, faults: Faults
) -> tuple[np.ndarray | None, list[int], list[int]]:
    """Return a nested array's numbers, the sizes of a frame's dimensions, and the frames of each row.

    A vector a row is a clip of one frame. The numbers are `None` after a fault.
    """
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if array.null_count:
        for row in np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist():
            faults.add(f"{place}, row {first_row + row}: its landmarks are null")
        return None, [], []
    sizes: list[np.ndarray] = []
    inner = array
    while pa.types.is_nested(inner.type):
        if (inner.null_count and sizes) or not hasattr(inner, "flatten") or pa.types.is_struct(inner.type):
            raise UserError(f"{place}: landmarks are {array.type}, not lists of numbers, or a frame of them is null")
        sizes.append(pc.list_value_length(inner).to_numpy(zero_copy_only=False))
        inner = inner.flatten()
    if not sizes or not (
        pa.types.is_floating(inner.type) or pa.types.is_integer(inner.type) or pa.types.is_null(inner.type)
    ):
        raise UserError(f"{place}: landmarks are {array.type}, not lists of numbers")
    levels = sizes[1:] or sizes
    starts = [np.arange(len(array)), *(np.repeat(np.arange(len(array)), sizes[0]) for _ in sizes[1:2])]
    row_of = starts[-1]
    for depth, level in enumerate(levels):
        usual = int(np.bincount(level).argmax()) if len(level) else 0
        wrong = np.flatnonzero(level != usual)
        if len(wrong):
            rows = row_of if depth == 0 else np.repeat(row_of, levels[depth - 1])
            for row in np.unique(rows[wrong]).tolist():
                different = sorted(set(level[rows == row].tolist()))
                faults.add(
                    f"{place}, row {first_row + row}: frames of unequal size ({', '.join(map(str, different))}), "
                    f"where {usual} is usual"
                )
            return None, [], []
    shape = [int(level[0]) for level in levels if len(level)]
    lengths = sizes[0].tolist() if len(sizes) > 1 else [1] * len(array)
    return inner.to_numpy(zero_copy_only=False), shape, lengths


def check_files(path: Path) -> None:
    """Raise `UserError` for files, of which `path` is one or a folder, that end a process which reads them with Arrow.

    These are JSON with `null` in place of a row, and Arrow's own whose columns point outside of the file.
    """
    suffixes = (*_ROWS, ".arrow")
    files = [path] if path.suffix.lower() in suffixes else []
    if path.is_dir():
        files = [path / folder / name for folder, names in files_by_folder(path, *suffixes).items() for name in names]
    for file in files:
        if file.suffix.lower() == ".arrow":
            _check_columns(file)
        elif (row := _null_row(file)) is not None:
            raise UserError(f"{file}, {row}: is null, where a row of the data is expected; remove it")


def _check_columns(file: Path) -> None:
    open_regular(file).close()
    with pa.memory_map(str(file)) as content:
        try:
            is_whole = content.read(len(_ARROW_FILE)) == _ARROW_FILE
            content.seek(0)
            reader = pa.ipc.open_file(content) if is_whole else pa.ipc.open_stream(content)
            batches = map(reader.get_batch, range(reader.num_record_batches)) if is_whole else reader
            for batch in batches:
                batch.validate(full=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(f"{file}: is damaged ({' '.join(str(error).split())[:200]}); write it again") from error


def _null_row(file: Path) -> str | None:
    """Return the first line, or item of a list, that is `null`."""
    with open_regular(file) as opened:
        if not opened.read(1):
            return None
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if _LIST.match(content) is None:
                found = _NULL_ROW.search(content)
                number = None if found is None else content[: found.end()].count(b"\n") + 1
                return None if number is None else f"line {number}"
            if _NULL_ITEM.search(content) is None:
                return None
            items = parse_json(content[:].removeprefix(b"\xef\xbb\xbf"))
    return f"item {items.index(None)}" if None in items else None

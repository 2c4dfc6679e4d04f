"""Reads a CSV with one vector of landmarks per row and the class in its first column, or in one named `label`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ....common.errors import UserError
from ...landmarks import LandmarkLayout
from ...layouts.mediapipe import KNOWN_VECTORS, points
from ...specs import Reading
from ...text import (
    LABEL_COLUMNS,
    SIGNER_COLUMNS,
    SPLIT_COLUMNS,
    Table,
    files_with,
    find_column,
    is_number,
    only_file,
    plain_label,
    read_rows,
    split_name,
    to_numbers,
)
from ..raw import RawClips, raw_clips
from . import frame_table

NAME = "landmark_csv"
LOOKS_FOR = "a CSV of one landmark vector per row"


def detect(path: Path) -> bool:
    """Return whether `path` is a CSV, other than a frame table, or a folder with a CSV of landmark vectors."""
    if path.is_dir():
        return bool(_data_files(path))
    return path.suffix.lower() == ".csv" and not frame_table.detect(path)


def read(path: Path, reading: Reading) -> RawClips:
    """Return the rows of a file, or of the only such file in a folder.

    A row of 42 or 63 numbers, or of another known vector of MediaPipe, is one frame; any other even count is a track of
    one point (x, y). A header may name `label`, `signer` and `split` columns; without a header the class is in the first
    column. The names of class numbers come from a file `*label*.csv` in the same folder whose name begins like the data's.
    """
    file = only_file(_data_files(path), path, "CSV of landmark vectors") if path.is_dir() else path
    table = read_rows(file)
    if _has_header(table.cells[:1]):
        table = table.with_header()
    if not table.cells:
        raise UserError(f"{file}: no rows")
    label, signer, split = (
        find_column(table.header, names) for names in (LABEL_COLUMNS, SIGNER_COLUMNS, SPLIT_COLUMNS)
    )
    label = label or 0
    # pandas writes the row number as a first column without a name.
    others = {label, signer, split} | {index for index, name in enumerate(table.header) if not name.strip()}
    cells = [[cell for index, cell in enumerate(row) if index not in others] for row in table.cells]
    clips, layout = _as_clips(to_numbers(cells, table.where), table)
    labels = [plain_label(row[label]) for row in table.cells]
    class_names = _class_names(file)
    if class_names is not None:
        labels = [_class_name(label, class_names, table.where(index)) for index, label in enumerate(labels)]
    splits = table.column(SPLIT_COLUMNS, default="")
    return raw_clips(
        name=file.stem,
        source_format=NAME,
        layout=layout,
        clips=list(clips),
        labels=labels,
        class_names=class_names,
        groups={"signer": table.column(SIGNER_COLUMNS, default="")},
        splits=[split_name(text, table.where(index)) for index, text in enumerate(splits)],
        where=table.where,
    )


def _has_header(first_rows: list[list[str]]) -> bool:
    """Return whether the first row names columns: one of them is `label`, or no cell is a number."""
    return any(
        find_column(row, LABEL_COLUMNS) is not None or not any(is_number(cell) for cell in row) for row in first_rows
    )


def _as_clips(values: np.ndarray, table: Table) -> tuple[np.ndarray, LandmarkLayout | None]:
    """Return vectors [rows, numbers] as clips [rows, 1, numbers], or as tracks of a point [rows, frames, 1, 2]."""
    size = values.shape[1]
    if size in KNOWN_VECTORS:
        return values[:, None], None
    if size == 0 or size % 2:
        raise UserError(
            f"{table.where(0)}: {size} numbers and a class; expected one frame's landmarks "
            f"({', '.join(map(str, sorted(KNOWN_VECTORS)))} numbers) or a track of x, y"
        )
    return values.reshape(len(values), size // 2, 1, 2), points(1, 2)


def _data_files(folder: Path) -> list[Path]:
    return [file for file in files_with(folder, ".csv") if _holds_vectors(file)]


def _holds_vectors(file: Path) -> bool:
    """Return whether the second row has numbers in all but three columns (label, signer, split) and it is no table."""
    try:
        rows = read_rows(file, limit=2).cells
    except UserError:
        return False
    if not rows or "label" in file.stem.lower() or frame_table.is_table(rows[0]):
        return False
    numbers = sum(map(is_number, rows[-1]))
    return numbers >= max(4, len(rows[-1]) - 3)


def _class_names(file: Path) -> list[str] | None:
    """Return the names in the label file that belongs to a data file, one per line; `None` without one."""
    folder = file.parent
    stems = {other.stem for other in _data_files(folder)} | {file.stem}
    for candidate in files_with(folder, ".csv"):
        if candidate == file or "label" not in candidate.stem.lower():
            continue
        owners = [stem for stem in stems if candidate.stem.startswith(stem)]
        alone = len(stems) == 1 and candidate.stem.lower() in ("label", "labels")
        if alone or (owners and max(owners, key=len) == file.stem):
            return [row[0].strip() for row in read_rows(candidate).cells]
    return None


def _class_name(label: str, class_names: list[str], where: str) -> str:
    if label in class_names:
        return label
    if not label.isdecimal() or int(label) >= len(class_names):
        raise UserError(f"{where}: class {label!r}, but the label file names {len(class_names)} classes, from 0 on")
    return class_names[int(label)]

"""Reads the CSV of SPOTER: a row a clip, each cell a list of one coordinate of one point over the frames, as text.

The columns are those of github.com/matyasbohacek/spoter: `nose_X`, `nose_Y`, ..., `indexTip_left_X`, ..., `labels`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ....common.errors import UserError
from ...layouts.openpose import HAND, OPENPOSE_PARTS, UPPER_BODY, upper_body_and_hands
from ...specs import Reading
from ...text import encoding_of, files_with, nfc, plain_label
from ..label_names import with_names
from ..raw import Faults, RawClips, cut, raw_clips
from .columns import KNOWN_GROUPS, Columns, columns_of, is_group, list_of, split_names
from .csv_rows import by_split, delimiter_of, first_rows

NAME = "spoter"
LOOKS_FOR = "a CSV of SPOTER, a list in each cell"
USES: tuple[str, ...] = ("label", "signer")

_SIDES = {"0": "left_hand", "left": "left_hand", "1": "right_hand", "right": "right_hand"}
_COORDINATE = re.compile(r"(?P<point>[A-Za-z]+?)(?:_(?P<side>0|1|left|right))?_(?P<axis>[XY])", re.IGNORECASE)
_LIST = re.compile(r"\s*\[.*\]\s*", re.DOTALL)
_NECK = "pose.neck"
_LEAST_POINTS = 4


def detect(path: Path) -> bool:
    """Return whether `path` is a CSV of SPOTER, or a folder with one."""
    return bool(_files(path)) if path.is_dir() else path.suffix.lower() == ".csv" and is_spoter(first_rows(path, 2))


def is_spoter(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first two rows of a table are SPOTER's: columns of points, lists in their cells."""
    if len(rows) < 2 or len(rows[0]) != len(rows[1]):
        return False
    lists = [_LIST.fullmatch(cell) is not None for name, cell in zip(*rows[:2], strict=True) if _point_of(name)]
    return len(lists) >= 2 * _LEAST_POINTS and all(lists)


def read(path: Path, reading: Reading) -> RawClips:
    """Return the clips of a file, of the only one in a folder, or of a folder's files named after splits.

    The points are put in the order of `upper_body_and_hands`; a point at (0, 0) is missing, as SPOTER writes it. Raises
    `UserError` with all faults: cells that are no lists of numbers, lists of unequal lengths, points that are not there.
    """
    files = by_split(_files(path), path, "CSV of SPOTER") if path.is_dir() else {"": path}
    faults = Faults(next(iter(files.values())) if len(files) == 1 else path)
    clips: list[np.ndarray] = []
    where: list[str] = []
    texts: dict[str, list[str]] = {}
    notes: list[str] = []
    forms = set()
    for split, file in files.items():
        header, rows = _open(file, reading)
        columns = _columns(header, reading, file)
        parts, places = _places(header, file, notes)
        forms.add(parts)
        kinds = {"label": columns.label, "signer": columns.signer, "split": columns.split, **columns.groups}
        for line, row in rows:
            place = f"{file}, line {line}"
            if len(row) != len(header):
                faults.add(f"{place}: {len(row)} columns where the first row has {len(header)}")
                continue
            clip = _clip(row, header, places, place, faults)
            if clip is None:
                continue
            for kind, index in kinds.items():
                known = texts.setdefault(kind, [""] * len(clips))
                known.append(plain_label(row[index]) if index >= 0 else split if kind == "split" else "")
            clips.append(clip)
            where.append(place)
    faults.check()
    if not clips:
        raise UserError(f"{path}: no rows below a header")
    if len(forms) > 1:
        raise UserError(f"{path}: {' and '.join(file.name for file in files.values())} have different points")
    kept = (*KNOWN_GROUPS, reading.group)
    labels, splits = texts.pop("label"), texts.pop("split")
    first = next(iter(files.values()))
    raw = raw_clips(
        name=path.resolve().name if path.is_dir() else path.stem,
        source_format=NAME,
        layout=upper_body_and_hands(forms.pop()),
        clips=clips,
        labels=labels,
        groups={kind: found for kind, found in texts.items() if kind == "signer" or kind in kept or is_group(found)},
        splits=split_names(splits, where.__getitem__, faults),
        notes=tuple(dict.fromkeys(notes)),
        files=tuple(file.name for file in files.values()),
        where=where.__getitem__,
    )
    raw = with_names(raw, first, list(files.values()), reading.encoding, faults)
    faults.check()
    return raw


def _files(folder: Path) -> list[Path]:
    return [file for file in files_with(folder, ".csv") if is_spoter(first_rows(file, 2))]


def _open(file: Path, reading: Reading) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the header and the rows that are not blank, each with the line on which it ends."""
    codec = encoding_of(file, reading.encoding)

    def rows() -> Iterator[tuple[int, list[str]]]:
        with file.open(encoding=codec, newline="") as opened:
            delimiter = delimiter_of(opened.readline())
            opened.seek(0)
            reader = csv.reader(opened, delimiter=delimiter, skipinitialspace=True)
            try:
                yield from ((reader.line_num, row) for row in reader if any(cell.strip() for cell in row))
            except csv.Error as error:
                raise UserError(f"{file}, line {reader.line_num}: cannot be read as a CSV file ({error})") from None

    found = rows()
    _, header = next(found, (0, []))
    return [nfc(cell) for cell in header], found


def _columns(header: list[str], reading: Reading, file: Path) -> Columns:
    columns = columns_of(["" if _point_of(name) else name for name in header], reading, file)
    if columns.label < 0:
        others = [name for name in header if not _point_of(name)]
        raise UserError(
            f"{file}: no column is named as the class; add --label COLUMN; {list_of(others)}", option="label"
        )
    return columns


def _point_of(column: str) -> tuple[str, int] | None:
    """Return the landmark's name and 0 for x, 1 for y of a column, such as ("left_hand.pinky_tip", 0); `None` for others."""
    match = _COORDINATE.fullmatch(column.strip())
    if match is None:
        return None
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", match["point"]).lower()
    words = {"thumb_mp": "thumb_mcp"}.get(words, words.replace("little", "pinky"))
    part = "pose" if match["side"] is None else _SIDES[match["side"].lower()]
    if words not in (UPPER_BODY if part == "pose" else HAND):
        return None
    return f"{part}.{words}", "XY".index(match["axis"].upper())


def _places(header: list[str], file: Path, notes: list[str]) -> tuple[tuple[str, ...], list[tuple[int, int]]]:
    """Return the parts that a table has, and the columns of x and y of their landmarks in order; -1 for none.

    Raises `UserError` for a part of which points are not there.
    """
    found: dict[str, list[int]] = {}
    for index, column in enumerate(header):
        if (point := _point_of(column)) is not None:
            found.setdefault(point[0], [-1, -1])[point[1]] = index
    parts = tuple(part for part in OPENPOSE_PARTS if any(name.startswith(part) for name in found))
    names = upper_body_and_hands(parts).names
    missing = [name for name in names if -1 in found.get(name, [-1])]
    if missing == [_NECK]:
        notes.append("the neck is not in the table and counts as missing")
        found[_NECK] = [-1, -1]
    elif missing:
        raise UserError(f"{file}: no columns of {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}")
    return parts, [(found[name][0], found[name][1]) for name in names]


def _clip(
    row: list[str], header: list[str], places: list[tuple[int, int]], where: str, faults: Faults
) -> np.ndarray | None:
    """Return a row's landmarks, float32 [frames, landmarks, 2]; `None` after a fault."""
    indices = [index for place in places for index in place if index >= 0]
    try:
        numbers = json.loads(f"[{','.join(row[index] for index in indices)}]")
        values = np.array(numbers, dtype=np.float32)
        if values.ndim != 2 or len(values) != len(indices):
            raise ValueError
    except (ValueError, TypeError):
        checked = _checked(row, header, indices, where, faults)
        if checked is None:
            return None
        values = checked
    clip = np.full((values.shape[1], len(places), 2), np.nan, dtype=np.float32)
    flat = clip.reshape(values.shape[1], -1)
    flat[:, [index >= 0 for place in places for index in place]] = values.T
    clip[(clip == 0).all(axis=2)] = np.nan
    return clip


def _checked(row: list[str], header: list[str], indices: list[int], where: str, faults: Faults) -> np.ndarray | None:
    """Return the lists of a row that are not plain JSON, [columns, frames], or `None` after a fault."""
    lists = []
    for index in indices:
        cell = row[index].strip()
        try:
            if not (cell.startswith("[") and cell.endswith("]")):
                raise ValueError
            inner = cell[1:-1].replace(",", " ").split()
            lists.append([float("nan") if word.lower() in ("none", "null") else float(word) for word in inner])
        except ValueError:
            faults.add(f"{where}, column {header[index]!r}: {cut(cell)} is not a list of numbers")
            return None
    lengths = [len(numbers) for numbers in lists]
    usual = max(set(lengths), key=lengths.count)
    for index, length in zip(indices, lengths, strict=True):
        if length != usual:
            faults.add(f"{where}, column {header[index]!r}: {length} numbers, where the other columns have {usual}")
            return None
    return np.array(lists, dtype=np.float32)

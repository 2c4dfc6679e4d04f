"""Text in data files: names of columns, classes and splits, rows of numbers."""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common.errors import UserError

LANDMARK_COLUMNS = ("landmarks", "keypoints", "points", "pose", "sequence", "data")
LABEL_COLUMNS = ("label", "labels", "sign", "class", "gloss", "word", "target")
SIGNER_COLUMNS = ("signer", "signerid", "participantid", "participant", "speaker", "subject", "person")
SPLIT_COLUMNS = ("split", "subset")

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "": "",
}
_MISSING = frozenset(("", "?", "nan", "na", "null", "none"))
_STRAYS = frozenset(
    ("__pycache__", "__macosx", "logs", "thumbs.db", "desktop.ini", "@eadir", "lost+found", "$recycle.bin")
)


def nfc(text: str) -> str:
    """Return a text in the Unicode form NFC, in which equal names are equal: macOS writes the names of files in NFD."""
    return unicodedata.normalize("NFC", text)


def is_stray(name: str) -> bool:
    """Return whether a file or a folder is one that tools leave behind: `.DS_Store`, `._0.npy`, `Logs`, `Thumbs.db`."""
    return name.startswith((".", "~$")) or name.lower() in _STRAYS


def entries(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the folders and of the files in a folder as the disk has them, in natural order, without strays.

    Reads the folder once and asks for no file's size. A name as the disk has it may be NFD: `nfc` before comparing it.
    """
    folders: list[str] = []
    files: list[str] = []
    with os.scandir(folder) as found:
        for entry in found:
            if not is_stray(entry.name):
                (folders if entry.is_dir() else files).append(entry.name)
    return sorted(folders, key=natural_key), sorted(files, key=natural_key)


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder in natural order, without strays."""
    return [folder / name for name in entries(folder)[0]]


@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows of a text table below its header, and the line of the file, from 1, on which each ends."""

    path: Path
    header: list[str]
    cells: list[list[str]]
    lines: list[int]

    def where(self, row: int) -> str:
        """Return file and line of a row, for an error."""
        return f"{self.path}, line {self.lines[row]}"

    def with_header(self) -> Table:
        """Return the table with its first row as the header."""
        return Table(path=self.path, header=self.cells[0], cells=self.cells[1:], lines=self.lines[1:])

    def column(self, names: Sequence[str], default: str | None = None) -> list[str]:
        """Return the cells of the column with one of `names`; without one, `default` for each row, or `UserError`."""
        index = find_column(self.header, names)
        if index is not None:
            return [plain_label(row[index]) for row in self.cells]
        if default is None:
            raise UserError(f"{self.path}: no column {names[0]!r} in its header")
        return [default] * len(self.cells)


def read_rows(path: Path, limit: int | None = None) -> Table:
    """Return the rows of a comma, semicolon or tab separated file without blank ones; at most `limit` of them.

    Raises `UserError` for text that is not UTF-8 and for rows of unequal length.
    """
    cells: list[list[str]] = []
    lines: list[int] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            start = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=start.count), skipinitialspace=True)
            for row in reader:
                if limit is not None and len(cells) == limit:
                    break
                if not any(cell.strip() for cell in row):
                    continue
                if cells and len(row) != len(cells[0]):
                    raise UserError(
                        f"{path}, line {reader.line_num}: {len(row)} columns where the first row has {len(cells[0])}"
                    )
                cells.append(row)
                lines.append(reader.line_num)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise UserError(f"{path}: cannot be read as a CSV file ({error}); save it as UTF-8 text") from None
    return Table(path=path, header=[], cells=cells, lines=lines)


def read_table(path: Path) -> Table:
    """Return the rows of a file whose first row is a header."""
    rows = read_rows(path)
    if len(rows.cells) < 2:
        raise UserError(f"{path}: no rows below a header")
    return rows.with_header()


def header_of(path: Path) -> list[str]:
    """Return the first row of a file; an empty list if there is none or it cannot be read as text."""
    try:
        return next(iter(read_rows(path, limit=1).cells), [])
    except UserError:
        return []


def find_column(header: Sequence[str], names: Sequence[str]) -> int | None:
    """Return the index of the first of `names` in a header, or `None`; case, spaces, `_` and `-` do not matter."""
    plain = [re.sub(r"[\s_-]", "", nfc(cell)).lower() for cell in header]
    return next((plain.index(name) for name in names if name in plain), None)


def is_number(text: str) -> bool:
    """Return whether a cell holds a number or stands for a missing one."""
    try:
        float(text)
    except ValueError:
        return text.strip().lower() in _MISSING
    return True


def to_numbers(cells: Sequence[Sequence[str]], where: Callable[[int], str]) -> np.ndarray:
    """Return rows of equal length as float32 [rows, columns], missing cells (empty, `?`, `nan`) as NaN.

    `where` names the place of a row in the error raised for a cell that is not a number.
    """
    try:
        return np.array(cells, dtype=np.float32)
    except ValueError:
        return np.array([_numbers_of_row(row, where, index) for index, row in enumerate(cells)], dtype=np.float32)


def _numbers_of_row(row: Sequence[str], where: Callable[[int], str], index: int) -> list[float]:
    for cell in row:
        if not is_number(cell):
            raise UserError(f"{where(index)}: {cell!r} is not a number")
    return [float("nan") if cell.strip().lower() in _MISSING else float(cell) for cell in row]


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key by which "2" comes before "10".

    >>> sorted(["seq10", "seq2"], key=natural_key)
    ['seq2', 'seq10']
    """
    pieces = re.findall(r"[0-9]+|[^0-9]+", nfc(text))
    return tuple((0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces)


def plain_label(value: object) -> str:
    """Return a label as text in NFC: the whole number 3.0 is "3"."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = nfc(value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)).strip()
    return text[:-2] if re.fullmatch(r"-?[0-9]+\.0", text) else text


def split_name(text: str, where: str) -> str:
    """Return train, validation, test or an empty string for a split's name as data sets spell it."""
    try:
        return _SPLIT_NAMES[text.strip().lower()]
    except KeyError:
        raise UserError(f"{where}: {text!r} is not a split; name it train, validation or test") from None


def split_of_file(path: Path) -> str:
    """Return the split in the name of a file or folder (`test_words.csv`), or an empty string."""
    words = re.findall(r"[a-z]+", path.stem.lower())
    return next((_SPLIT_NAMES[word] for word in words if word in _SPLIT_NAMES), "")


def only_file(files: Sequence[Path], folder: Path, kind: str) -> Path:
    """Return the one file of a kind in a folder. Raises `UserError` for none or several."""
    if not files:
        raise UserError(f"{folder}: no {kind} found")
    if len(files) > 1:
        names = ", ".join(sorted(file.name for file in files))
        raise UserError(f"{folder}: holds more than one {kind} ({names}); name one of them, as {min(files)}")
    return files[0]


def files_with(folder: Path, *suffixes: str) -> list[Path]:
    """Return the files of a folder with one of the given endings, in natural order, without strays."""
    return [folder / name for name in entries(folder)[1] if name.lower().endswith(suffixes)]

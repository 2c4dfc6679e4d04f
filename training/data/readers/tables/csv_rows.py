"""Reads text tables of any columns through Python's csv: lists of files, segments, labels, and what others begin with."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ....common.errors import UserError
from ...text import encoding_of, find_column, marked_encoding, nfc, once_a_read, only_file, plain_label, split_of_file
from ..raw import Faults

MISSING = frozenset(("", "?", "nan", "na", "n/a", "null", "none"))
_MOST_LINE = 1 << 22
csv.field_size_limit(1 << 30)  # a cell may be a long text


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

    def column(self, names: Sequence[str], default: str | None = None) -> list[str]:
        """Return the cells of the column with one of `names`; without one, `default` for each row, or `UserError`."""
        index = find_column(self.header, names)
        if index is not None:
            return self.cells_of(index)
        if default is None:
            raise UserError(f"{self.path}: no column {names[0]!r} in its header")
        return [default] * len(self.cells)

    def cells_of(self, index: int) -> list[str]:
        """Return the cells of a column as labels."""
        return [plain_label(row[index]) for row in self.cells]


def read_rows(path: Path, encoding: str | None = None) -> Table:
    """Return the rows of a comma, semicolon or tab separated file without blank ones.

    Raises `UserError` for text of another encoding and for all rows of another length than the first.
    """
    cells: list[list[str]] = []
    lines: list[int] = []
    faults = Faults(path)
    with path.open(encoding=encoding_of(path, encoding), newline="") as file:
        delimiter = delimiter_of(file.readline())
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        try:
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue
                if cells and len(row) != len(cells[0]):
                    where = f"{path}, line {reader.line_num}"
                    faults.add(f"{where}: {len(row)} columns where the first row has {len(cells[0])}")
                cells.append(row)
                lines.append(reader.line_num)
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: cannot be read as a CSV file ({error})") from None
    faults.check()
    return Table(path=path, header=[], cells=cells, lines=lines)


def read_table(path: Path, encoding: str | None = None) -> Table:
    """Return the rows of a file whose first row is a header."""
    rows = read_rows(path, encoding)
    if len(rows.cells) < 2:
        raise UserError(f"{path}: no rows below a header")
    return Table(path=path, header=[nfc(cell) for cell in rows.cells[0]], cells=rows.cells[1:], lines=rows.lines[1:])


def header_of(path: Path) -> list[str]:
    """Return the first row of a file; an empty list if there is none. For what is not UTF-8 only ASCII is right."""
    return next(iter(first_rows(path, 1)), [])


@once_a_read
def first_rows(path: Path, limit: int) -> list[list[str]]:
    """Return at most `limit` rows of a file to recognise it by, without blank ones; what is no UTF-8 does not matter."""
    rows: list[list[str]] = []
    with suppress(OSError, csv.Error, UnicodeError):
        encoding = marked_encoding(path) or "utf-8"
        with path.open(encoding=encoding, errors="replace", newline="") as file:
            delimiter = delimiter_of(file.readline(_MOST_LINE))
            file.seek(0)
            for row in csv.reader(file, delimiter=delimiter, skipinitialspace=True):
                if any(cell.strip() for cell in row):
                    rows.append([nfc(cell) for cell in row])
                if len(rows) == limit:
                    break
    return rows


def delimiter_of(line: str) -> str:
    """Return what separates the cells of a table by its first line: a tab, a semicolon, or else a comma.

    A comma may be in a number or in a quoted cell beside them.
    """
    plain = re.sub(r'"[^"]*"', "", line)
    return next((mark for mark in "\t;" if mark in plain), ",")


def is_number(text: str) -> bool:
    """Return whether a cell holds a number or stands for a missing one."""
    try:
        to_float(text)
    except ValueError:
        return False
    return True


def to_float(text: str) -> float:
    """Return a cell's number, NaN for a missing one. Raises `ValueError`."""
    try:
        number = float(text)
    except ValueError:
        if text.strip().lower() in MISSING:
            return float("nan")
        raise
    if "_" in text:  # a number to Python only
        raise ValueError
    return number


def by_split(files: Sequence[Path], folder: Path, kind: str) -> dict[str, Path]:
    """Return split -> file for files named after different splits, else the only file under an empty name.

    Raises `UserError` for none and for several others, which names them.
    """
    splits = {split_of_file(file): file for file in files}
    if len(files) > 1 and len(splits) == len(files) and "" not in splits:
        return splits
    return {"": only_file(files, folder, kind)}

"""Reads large text tables of numbers: pyarrow's CSV reader a block at a time, the numbers straight into one float32 array."""

from __future__ import annotations

import csv
import itertools
import mmap
import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from ....common.errors import UserError
from ....common.program.threads import HelperThreads
from ...text import encoding_of, nfc, plain_label
from ..raw import Faults, cut
from .csv_rows import MISSING, delimiter_of, to_float

_SAMPLE_ROWS = 20
_BLOCK_BYTES = 1 << 21
_THREADS = 3
"""Two that parse, and one whose block is ready when they are."""
_SPARE = 1.05
"""Room for rows that are shorter than the first ones."""
_DECIMAL_COMMA = re.compile(r"\s*[+-]?[0-9]+,[0-9]+([eE][+-]?[0-9]+)?\s*")
_NULLS = sorted({form for text in MISSING for form in (text, text.upper(), text.capitalize(), "NaN", "N/A")})


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a text table is written, and its first rows, from which a reader decides what its columns are."""

    path: Path
    codec: str
    delimiter: str
    decimal_comma: bool
    rows: list[list[str]]
    """The first rows that are not blank, the header among them."""
    first_line: int
    """The line, from 1, on which the first of them ends."""

    @classmethod
    def of(cls, path: Path, encoding: str | None) -> Form:
        """Return the form of a file. Raises `UserError` for text of another encoding and for no row at all."""
        codec = encoding_of(path, encoding)
        rows: list[list[str]] = []
        first_line = 0
        with path.open(encoding=codec, newline="") as file:
            delimiter = delimiter_of(file.readline())
            file.seek(0)
            for line, row in itertools.islice(_rows(file, delimiter, path), _SAMPLE_ROWS):
                first_line = first_line or line
                rows.append([nfc(cell.strip()) for cell in row])
        if not rows:
            raise UserError(f"{path}: no rows")
        comma = delimiter != "," and any(_DECIMAL_COMMA.fullmatch(cell) for row in rows for cell in row)
        return cls(path=path, codec=codec, delimiter=delimiter, decimal_comma=comma, rows=rows, first_line=first_line)

    def number_of(self, cell: str) -> float:
        """Return the number of a cell as this table writes it, NaN for a missing one. Raises `ValueError`."""
        return to_float(cell.replace(",", ".") if self.decimal_comma else cell)

    def is_number(self, cell: str) -> bool:
        """Return whether a cell holds a number or stands for a missing one."""
        try:
            self.number_of(cell)
        except ValueError:
            return False
        return True


@dataclass(frozen=True, kw_only=True)
class NumberTable:
    """The rows of a table: some columns as text, the others as numbers."""

    form: Form
    has_header: bool
    texts: dict[int, list[str]]
    """The cells of the columns that were asked for as text, by the column's index, as labels."""
    numbers: np.ndarray
    """float32 [rows, columns], missing numbers as NaN."""

    @cached_property
    def _lines(self) -> list[int]:
        return [line for line, _ in _numbered_rows(self.form)][int(self.has_header) :]

    def where(self, row: int) -> str:
        """Return file and line of a row, for a message."""
        return f"{self.form.path}, line {self._lines[row]}"


def read_numbers(form: Form, *, has_header: bool, texts: Sequence[int], numbers: Sequence[int]) -> NumberTable:
    """Return the rows of a table, blank ones left out; the memory is that of the numbers and of one block of the file.

    Raises `UserError` with all faults: rows of another length than the first, cells that are not numbers.
    """
    try:
        try:
            cells, values = _by_arrow(form, has_header, texts, numbers, has_quotes=False)
        except _Quoted:
            cells, values = _by_arrow(form, has_header, texts, numbers, has_quotes=True)
    except pa.ArrowException:  # a fault, or a form of numbers that only Python's reader knows
        cells, values = _row_by_row(form, has_header, texts, numbers)
    return NumberTable(form=form, has_header=has_header, texts=cells, numbers=values)


class _Quoted(Exception):  # noqa: N818 - a fact, not an error
    """Cells are quoted: a line may end within one."""


def _by_arrow(
    form: Form, has_header: bool, texts: Sequence[int], numbers: Sequence[int], *, has_quotes: bool
) -> tuple[dict[int, list[str]], np.ndarray]:
    of_texts, of_numbers = [str(index) for index in texts], [str(index) for index in numbers]
    conversion = arrow_csv.ConvertOptions(
        column_types={**dict.fromkeys(of_texts, pa.string()), **dict.fromkeys(of_numbers, pa.float64())},
        include_columns=[*of_texts, *of_numbers],
        null_values=_NULLS,
        decimal_point="," if form.decimal_comma else ".",
    )
    cells: dict[int, list[str]] = {index: [] for index in texts}
    row_bytes = sum(sum(map(len, row)) + len(row) for row in form.rows[1:] or form.rows) / len(
        form.rows[1:] or form.rows
    )
    room = int(_SPARE * form.path.stat().st_size / row_bytes) + 1
    values = np.empty((room, len(numbers)), dtype=np.float32)  # pages that are not written take no memory
    count = 0
    for batch, block in _batches(form, form.first_line - 1 + int(has_header), has_quotes, conversion, of_numbers):
        columns = {index: _labels(batch.column(str(index))) for index in texts}
        kept = _not_blank(columns, block)
        if kept is not None:
            block = block[kept]
            columns = {index: [column[row] for row in kept] for index, column in columns.items()}
        for index in texts:
            cells[index] += columns[index]
        if count + len(block) > len(values):
            more = np.empty((len(block) + count // 2, len(numbers)), dtype=np.float32)
            values = np.concatenate([values[:count], more])
        with np.errstate(over="ignore"):  # one too large for float32 becomes infinite, which is reported
            values[count : count + len(block)] = block
        count += len(block)
    return cells, values[:count]


def _batches(
    form: Form, num_skipped: int, has_quotes: bool, conversion: arrow_csv.ConvertOptions, numbers: Sequence[str]
) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """Yield the rows of a table in order, and their numbers [rows, numbers], from blocks read in threads.

    A file with quoted cells, which may hold ends of lines, or in UTF-16 is read in one thread. Raises `_Quoted` where it
    has such cells, unless that is known.
    """
    options = {
        "block_size": max(_BLOCK_BYTES, 4 * max(sum(map(len, row)) + len(row) for row in form.rows)),
        "column_names": [str(index) for index in range(len(form.rows[0]))],
        "encoding": form.codec.removesuffix("-sig"),
    }
    parsing = arrow_csv.ParseOptions(delimiter=form.delimiter, newlines_in_values=has_quotes)
    if has_quotes or form.codec.startswith(("utf-16", "utf-32")):
        reading = arrow_csv.ReadOptions(skip_rows=num_skipped, **options)
        with arrow_csv.open_csv(form.path, reading, parsing, conversion) as reader:
            yield from ((batch, _numbers_of(batch, numbers)) for batch in reader)
        return
    with form.path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # ends with the last of its blocks
    for _ in range(num_skipped):
        content.readline()
    options["use_threads"] = False

    def parse(block: pa.Buffer) -> list[tuple[pa.RecordBatch, np.ndarray]]:
        if (np.frombuffer(block, np.uint8) == ord('"')).any():
            raise _Quoted
        reading = arrow_csv.ReadOptions(**options)
        batches = arrow_csv.read_csv(pa.BufferReader(block), reading, parsing, conversion).to_batches()
        return [(batch, _numbers_of(batch, numbers)) for batch in batches]

    waiting: deque[Future[list[tuple[pa.RecordBatch, np.ndarray]]]] = deque()
    with HelperThreads(_THREADS) as pool:
        for block in _blocks(content):
            waiting.append(pool.submit(parse, block))
            if len(waiting) > _THREADS:
                yield from waiting.popleft().result()
        for parsed in waiting:
            yield from parsed.result()


def _blocks(content: mmap.mmap) -> Iterator[pa.Buffer]:
    """Yield the rest of a file in blocks that end with a line, without those that are blank."""
    start, whole = content.tell(), pa.py_buffer(content)
    while start < len(content):
        stop = content.find(b"\n", min(start + _BLOCK_BYTES, len(content))) + 1 or len(content)
        if content[start : start + 1] not in b" \r\n" or not content[start:stop].isspace():
            yield whole.slice(start, stop - start)
        start = stop


def _numbers_of(batch: pa.RecordBatch, columns: Sequence[str]) -> np.ndarray:
    """Return columns of numbers as float64 [rows, columns], null as NaN."""
    if not columns:
        return np.empty((batch.num_rows, 0))
    return batch.select(columns).to_tensor(null_to_nan=True).to_numpy()


def _labels(column: pa.Array) -> list[str]:
    """Return the cells of a column as labels, equal ones as one object."""
    coded = column.dictionary_encode()
    known = [plain_label(text) for text in coded.dictionary.to_pylist()]
    return [known[code] for code in coded.indices.to_numpy().tolist()]


def _not_blank(columns: dict[int, list[str]], values: np.ndarray) -> list[int] | None:
    """Return the rows of which a cell is not blank, or `None` for all: Excel leaves rows of commas behind."""
    if not columns or not all("" in cells for cells in columns.values()):
        return None
    blank = {row for row, cells in enumerate(zip(*columns.values(), strict=True)) if not any(cells)}
    blank = {row for row in blank if np.isnan(values[row]).all()}
    return [row for row in range(len(values)) if row not in blank] if blank else None


def _row_by_row(
    form: Form, has_header: bool, texts: Sequence[int], numbers: Sequence[int]
) -> tuple[dict[int, list[str]], np.ndarray]:
    faults = Faults(form.path)
    cells: dict[int, list[str]] = {index: [] for index in texts}
    values: list[np.ndarray] = []
    width = len(form.rows[0])
    for number, (line, row) in enumerate(_numbered_rows(form)):
        if number == 0 and has_header:
            continue
        where = f"{form.path}, line {line}"
        if len(row) != width:
            faults.add(f"{where}: {len(row)} columns where the first row has {width}")
            continue
        found = np.full(len(numbers), np.nan)
        for place, index in enumerate(numbers):
            try:
                found[place] = form.number_of(row[index])
            except ValueError:
                column = repr(form.rows[0][index]) if has_header else str(index)
                faults.add(f"{where}, column {column}: {cut(row[index].strip())} is not a number")
        with np.errstate(over="ignore"):
            values.append(found.astype(np.float32))
        for index in texts:
            cells[index].append(plain_label(row[index]))
    faults.check()
    return cells, np.array(values, dtype=np.float32).reshape(-1, len(numbers))


def _numbered_rows(form: Form) -> Iterator[tuple[int, list[str]]]:
    with form.path.open(encoding=form.codec, newline="") as file:
        yield from _rows(file, form.delimiter, form.path)


def _rows(file: TextIO, delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line, from 1, on which a row ends and its cells, without blank rows."""
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: cannot be read as a CSV file ({error})") from None

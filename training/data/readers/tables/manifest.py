"""Reads a table of clips: each row names the file of a clip, its class, and perhaps its signer, source and split.

Such tables are what people's own collectors write beside their recordings: `manifest.csv` with the columns sample_id,
symbol, signer_id, landmark_path.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ....common.errors import UserError
from ...specs import Reading
from ...text import TABLES_OF_CLIPS, files_with, find_column, nfc, plain_label, read_text
from ..arrays.forms import form_of
from ..arrays.levels import signers_of_names
from ..clip_names import names_clips, table_of_names
from ..label_names import with_names
from ..raw import Faults, RawClips, cut
from .clip_files import SUFFIXES, ClipFile, names_of, open_clip, parts_of
from .columns import KNOWN_GROUPS, columns_of, is_group, label_columns, list_of, one_label_column, split_names
from .csv_rows import Table, by_split, first_rows, read_table

NAME = "manifest"
LOOKS_FOR = "a table of clips with a path column and a file a clip"
USES: tuple[str, ...] = ("label", "signer")

_PATHS = (
    *(
        "landmarkpath",
        "landmarkspath",
        "landmarkfile",
        "landmarksfile",
        "keypointpath",
        "keypointspath",
        "keypointfile",
    ),
    *(
        "keypointsfile",
        "npypath",
        "npzpath",
        "npyfile",
        "npzfile",
        "posepath",
        "posefile",
        "featurepath",
        "featurespath",
    ),
    *("clippath", "clipfile", "datapath", "csvpath", "parquetpath", "jsonpath", "relpath", "relativepath"),
    *("path", "filepath", "file", "filename", "fullpath", "sequencepath", "samplepath"),
)
_ISLR = (("path",), ("participantid",), ("sign",))
_SAMPLE_ROWS = 20
_PARENTS = 3
"""Folders above the table below which its paths are looked for."""


def detect(path: Path) -> bool:
    """Return whether `path` is a table whose path column names files of clips, or a folder with one."""
    return bool(_tables(path)) if path.is_dir() else _is_manifest(path)


def read(path: Path, reading: Reading) -> RawClips:
    """Return the clips that a table names, of the only one in a folder, or of tables named train and test.

    Paths are relative to the table or to a folder above it; backslashes are those of Windows. A row that stands twice is
    read once. Raises `UserError` with all faults: files that are not there, are no clips, or have frames of another size.
    """
    tables = by_split(_tables(path), path, "table of clips") if path.is_dir() else {"": path}
    faults = Faults(next(iter(tables.values())) if len(tables) == 1 else path)
    rows: list[Row] = []
    notes: list[str] = []
    for split, file in tables.items():
        rows += _rows_of(file, split, reading, faults, notes)
    rows = _once(rows, faults, notes)
    faults.check()
    clips: list[ClipFile | None] = []
    for row in rows:
        try:
            clips.append(open_clip(row.file, reading.encoding))
        except UserError as error:
            clips.append(None)
            faults.add(f"{row.where}: {error}")
    faults.check()
    opened = [clip for clip in clips if clip is not None]
    values, offsets = numbers_of(path, rows, opened, reading, faults, notes)
    kinds = dict.fromkeys(kind for row in rows for kind in row.groups)
    groups = {kind: [row.groups.get(kind, "") for row in rows] for kind in kinds}
    if not any(groups.get("signer", ())) and (signers := signers_of_names([nfc(row.file.stem) for row in rows])):
        groups["signer"] = signers
        notes.append(f"the signer is in the names of the files, as {signers[0]!r} of {rows[0].file.name}")
    kept = ("signer", *KNOWN_GROUPS, reading.group)
    raw = RawClips(
        name=path.resolve().name if path.is_dir() else path.stem,
        source_format=NAME,
        values=values,
        offsets=offsets,
        labels=[row.label for row in rows],
        groups={kind: texts for kind, texts in groups.items() if kind in kept or is_group(texts)},
        splits=[row.split for row in rows],
        parts=parts_of(opened[0]),
        number_names=names_of(opened[0]) or None,
        notes=tuple(dict.fromkeys(notes)),
        files=tuple(file.name for file in tables.values()),
        where=lambda index: rows[index].where,
    )
    first = next(iter(tables.values()))
    raw = with_names(raw, first, list(tables.values()), reading.encoding, faults)
    faults.check()
    return raw


def clip_files(path: Path, reading: Reading) -> list[Path]:
    """Return the files that the table or the tables of a path name and that are there. Raises `UserError`."""
    faults = Faults(path)
    tables = _tables(path) if path.is_dir() else [path]
    return [row.file for table in tables for row in _rows_of(table, "", reading, faults, [])]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A clip of a table: its file, and what the row says of it."""

    file: Path
    label: str
    split: str
    groups: dict[str, str]
    where: str


def _rows_of(file: Path, file_split: str, reading: Reading, faults: Faults, notes: list[str]) -> list[Row]:
    named = None if _has_paths(file) else table_of_names(file, reading.encoding)
    table = named or read_any_table(file, reading.encoding)
    path_columns = [0] if named else _path_columns(table.header, table.cells)
    if not path_columns:
        raise UserError(f"{file}: no column names files of clips ({', '.join(SUFFIXES)}); {list_of(table.header)}")
    at = path_columns[0]
    if len(path_columns) > 1:
        others = ", ".join(repr(table.header[index]) for index in path_columns[1:])
        notes.append(f"the clips are the files in the column {table.header[at]!r}, not in {others}")
    columns = columns_of(
        ["" if index in path_columns else name for index, name in enumerate(table.header)], reading, file
    )
    candidates = label_columns(table.header, columns, reading)
    if not candidates:
        raise UserError(
            f"{file}: no column is named as the class; add --label COLUMN; {list_of(table.header)}", option="label"
        )
    texts = {index: table.cells_of(index) for index in range(len(table.header))}
    label = one_label_column(file, candidates, table.header, texts, notes)
    kinds = {"signer": columns.signer, **columns.groups}
    taken = {*columns.named, *path_columns, *candidates}
    kinds |= {name: index for index, name in enumerate(table.header) if index not in taken and _is_text(texts[index])}
    splits = [file_split] * len(table.cells)
    if columns.split >= 0:
        splits = split_names(texts[columns.split], table.where, faults)
    place = _Place(file.parent)
    rows = []
    for row, cell in enumerate(texts[at]):
        clip = place.find(cell) if cell else None
        if clip is None:
            faults.add(
                f"{table.where(row)}: {_end_of(cell)} is not there; add the file or remove the row"
                if cell
                else f"{table.where(row)}: no path"
            )
            continue
        rows.append(
            Row(
                file=clip,
                label=texts[label][row],
                split=splits[row],
                groups={kind: texts[index][row] for kind, index in kinds.items() if index >= 0},
                where=table.where(row),
            )
        )
    return rows


def _end_of(cell: str) -> str:
    """Return a path for a message; of a long one its end, which tells it from others."""
    return repr(cell) if len(cell) <= 60 else repr(f"...{cell[-57:]}")


def _once(rows: list[Row], faults: Faults, notes: list[str]) -> list[Row]:
    """Return the rows without those that name the file of an earlier one."""
    first: dict[Path, Row] = {}
    twice: list[Row] = []
    for row in rows:
        earlier = first.setdefault(row.file, row)
        if earlier is row:
            continue
        if (earlier.label, earlier.split) != (row.label, row.split):
            faults.add(
                f"{row.where}: {row.file.name} is {_of(row)} here and {_of(earlier)} at "
                f"{earlier.where.rpartition(', ')[2]}; keep one of the rows"
            )
        twice.append(row)
    if twice:
        stand = "row stands" if len(twice) == 1 else "rows stand"
        notes.append(
            f"{len(twice):,} {stand} twice and {'is' if len(twice) == 1 else 'are'} read once, as {twice[0].where}"
        )
    return list(first.values())


def _of(row: Row) -> str:
    return cut(row.label) + (f" in {row.split}" if row.split else "")


def numbers_of(
    path: Path, rows: list[Row], clips: list[ClipFile], reading: Reading, faults: Faults, notes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames of all clips end to end, and their offsets."""
    if not clips:
        raise UserError(f"{path}: no rows")
    folder = path if path.is_dir() else path.parent
    names = [os.path.relpath(row.file, folder) for row in rows]
    form = form_of(folder, {name: clip.shape for name, clip in zip(names, clips, strict=True)}, 0, reading)
    notes += form.notes
    for row, name, clip in zip(rows, names, clips, strict=True):
        if not form.fits(clip.shape):
            faults.add(f"{row.where}: {name} has {list(clip.shape)}, where {form.example} has {list(form.shape)}")
        if names_of(clip) != names_of(clips[0]):
            faults.add(
                f"{row.where}: {name} has other columns than {names[0]}; each clip needs the same, in the same order"
            )
    faults.check()
    offsets = np.zeros(len(clips) + 1, dtype=np.int64)
    np.cumsum([form.frames(clip.shape) for clip in clips], out=offsets[1:])
    values = np.empty((int(offsets[-1]), *form.frame_shape), dtype=np.float32)
    for row, clip, start, stop in zip(rows, clips, offsets[:-1], offsets[1:], strict=True):
        try:
            clip.read_into(values[start:stop])
        except UserError as error:
            faults.add(f"{row.where}: {error}")
    faults.check()
    return values, offsets


class _Place:
    """Where the files of a table lie: their paths may begin at a folder above it, or at one of another machine."""

    def __init__(self, folder: Path) -> None:
        self._bases = [folder, *list(folder.resolve().parents)[:_PARENTS]]
        self._base, self._skipped = folder, 0

    def find(self, cell: str) -> Path | None:
        """Return the file of a path as a table writes it, or `None`."""
        parts = [part for part in re.split(r"[\\/]+", re.sub(r"^[A-Za-z]:", "", cell)) if part not in ("", ".")]
        if not parts:
            return None
        if cell.startswith("/") and (found := _existing(Path(cell))):
            return found
        is_elsewhere = bool(re.match(r"[\\/~]|[A-Za-z]:", cell))
        ways = [(self._base, self._skipped)]
        if not is_elsewhere:
            ways += [(base, 0) for base in self._bases]
        ways += [(base, skipped) for skipped in range(1, len(parts)) for base in self._bases[:1]]
        for base, skipped in ways:
            if skipped < len(parts) and (found := _existing(base.joinpath(*parts[skipped:]))):
                self._base, self._skipped = base, skipped
                return found
        return None


def _existing(path: Path) -> Path | None:
    text = str(path)
    spellings = (text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text))
    return next((Path(spelling) for spelling in dict.fromkeys(spellings) if os.path.isfile(spelling)), None)


def read_any_table(file: Path, encoding: str | None) -> Table:
    """Return the rows of a CSV, TSV, JSON-lines or Parquet file as text."""
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        try:
            names = _flat_columns(file)
            rows = pq.read_table(file, columns=names).to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{file}: cannot be read ({str(error).splitlines()[0]})") from None
        return _table(file, names, rows, list(range(len(rows))))
    if suffix != ".jsonl":
        return read_table(file, encoding)
    faults = Faults(file)
    found, lines = [], []
    for number, line in enumerate(read_text(file, encoding).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            assert isinstance(row, dict)
            found.append(row)
            lines.append(number)
        except (ValueError, AssertionError):
            faults.add(f"{file}, line {number}: is not a JSON object")
    faults.check()
    return _table(file, list(dict.fromkeys(key for row in found for key in row)), found, lines)


def _table(file: Path, names: Sequence[str], rows: Sequence[dict[str, object]], lines: list[int]) -> Table:
    cells = [["" if row.get(name) is None else plain_label(row[name]) for name in names] for row in rows]
    return Table(path=file, header=[nfc(name) for name in names], cells=cells, lines=lines)


def _flat_columns(file: Path) -> list[str]:
    schema = pq.read_schema(file)
    return [field.name for field in schema if not pa.types.is_nested(field.type)]


def _tables(folder: Path) -> list[Path]:
    return [file for file in files_with(folder, *TABLES_OF_CLIPS) if _is_manifest(file)]


def _is_manifest(file: Path) -> bool:
    """Return whether a file names clips, by their paths or by their names."""
    return _has_paths(file) or names_clips(file)


def _has_paths(file: Path) -> bool:
    """Return whether a path column of a file's first rows names files of clips; Google ISLR's `train.csv` has its reader."""
    suffix = file.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            header, *cells = first_rows(file, _SAMPLE_ROWS) or [[]]
        elif suffix == ".jsonl":
            header, cells = _first_objects(file)
        elif suffix == ".parquet" and find_column(header := _flat_columns(file), _PATHS) is not None:
            batch = next(pq.ParquetFile(file).iter_batches(_SAMPLE_ROWS, columns=header), None)
            cells = [] if batch is None else [[str(row[name]) for name in header] for row in batch.to_pylist()]
        else:
            return False
    except (OSError, ValueError, pa.ArrowException):
        return False
    is_islr = file.name == "train.csv" and all(find_column(header, names) is not None for names in _ISLR)
    return not is_islr and bool(_path_columns(header, cells))


def is_manifest(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first rows of a table are those of a table of clips."""
    return bool(_path_columns(rows[0], rows[1:]))


def _first_objects(file: Path) -> tuple[list[str], list[list[str]]]:
    with file.open("rb") as lines:
        start = lines.readline(1 << 16)
    row = json.loads(start)
    if not isinstance(row, dict):
        return [], []
    return list(row), [[str(value) for value in row.values()]]


def _path_columns(header: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    """Return the columns named as paths of which most cells end like files of clips, the most telling name first."""
    found = []
    for name in _PATHS:
        index = find_column(header, (name,))
        if index is not None:
            named = [row[index] for row in cells if index < len(row) and row[index]]
            if 2 * sum(_suffix(cell) in SUFFIXES for cell in named) > len(named):
                found.append(index)
    return found


def _suffix(cell: str) -> str:
    return PurePosixPath(cell.strip().replace("\\", "/")).suffix.lower()


def _is_text(cells: Sequence[str]) -> bool:
    return any(not re.fullmatch(r"[-+0-9.eE]*", cell) for cell in cells[:_SAMPLE_ROWS])

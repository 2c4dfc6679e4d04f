"""Tables that name clips without their endings or folders, and lists of clips in JSON, as a table with a path column.

`train_labels.csv` of AUTSL (signer0_sample1, 41), `WLASL_v0.3.json` and `nslt_100.json` of github.com/dxli94/WLASL, an
`index.json` of objects, `labels.json` with the class of each file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ...common.errors import UserError
from ..text import LABEL_COLUMNS, find_column, listing_of, nfc, once_a_read, plain_label, read_text, split_name
from .tables.clip_files import SUFFIXES
from .tables.csv_rows import Table, first_rows, read_rows

PATH = "path"
"""The column that is put before the others."""

_MOST_BYTES, _MOST_COLUMNS = 64 << 20, 30
_SAMPLE_ROWS = 20
_MOST_FOLDERS = 20
_ENDINGS = (*SUFFIXES, ".mp4", ".avi", ".mov")
_CLIPS = tuple(ending for ending in SUFFIXES if ending not in (".csv", ".tsv", ".json"))


def names_clips(file: Path) -> bool:
    """Return whether a CSV, TSV or JSON file names clips beside it that a path column of it does not."""
    return _shape_of(file) is not None


def table_of_names(file: Path, encoding: str | None) -> Table | None:
    """Return the rows of such a file with the path of each clip first; `None` for another file.

    The path of a clip that is not there is its name.
    """
    at = _shape_of(file)
    if at is None:
        return None
    if file.suffix.lower() == ".json":
        header, cells = _rows_of_json(json.loads(read_text(file, encoding)))
        lines = list(range(1, len(cells) + 1))
    else:
        rows = read_rows(file, encoding)
        has_header = _has_header(rows.cells, _clips_below(file.parent))
        header = [nfc(cell) for cell in rows.cells[0]] if has_header else _header_of(rows.cells, at)
        cells, lines = rows.cells[has_header:], rows.lines[has_header:]
    clips = _clips_below(file.parent)
    found = [clips.get(_stem(row[at]), row[at]) for row in cells]
    others = [place for place in range(len(header)) if place != at]
    return Table(
        path=file,
        header=[PATH, *(header[place] for place in others)],
        cells=[[clip, *(row[place] for place in others)] for clip, row in zip(found, cells, strict=True)],
        lines=lines,
    )


@once_a_read
def _shape_of(file: Path) -> int | None:
    """Return the column that names clips beside a file; `None` if there is none."""
    suffix = file.suffix.lower()
    if suffix not in (".csv", ".tsv", ".json") or file.stat().st_size > _MOST_BYTES:
        return None
    if suffix != ".json":
        rows = first_rows(file, _SAMPLE_ROWS)
        if not rows or not 2 <= len(rows[0]) <= _MOST_COLUMNS or not (clips := _clips_below(file.parent)):
            return None
        has_header = _has_header(rows, clips)
        if has_header and find_column(rows[0], LABEL_COLUMNS) is None:
            return None
        return _naming_column(rows[has_header:], clips)
    if not (clips := _clips_below(file.parent)):
        return None
    try:
        header, cells = _rows_of_json(json.loads(read_text(file)))
    except (ValueError, RecursionError, UserError):
        return None
    return _naming_column(cells, clips) if find_column(header, LABEL_COLUMNS) is not None else None


def _naming_column(rows: Sequence[Sequence[str]], clips: Mapping[str, str]) -> int | None:
    """Return the column of which most cells name a clip, and different ones."""
    for place in range(len(rows[0]) if rows else 0):
        cells = [row[place] for row in rows if place < len(row) and row[place]]
        known = {clips.get(_stem(cell)) for cell in cells}
        if 2 * (len(known - {None})) > len(cells) and len(known) > 1:
            return place
    return None


def _has_header(rows: Sequence[Sequence[str]], clips: Mapping[str, str]) -> bool:
    return not any(_stem(cell) in clips for cell in rows[0])


def _header_of(rows: Sequence[Sequence[str]], at: int) -> list[str]:
    """Return names for the columns of a table without a header: the only other one is the class."""
    width = len(rows[0])
    return [("name" if place == at else "label" if width == 2 else str(place)) for place in range(width)]


def _stem(cell: str) -> str:
    name = PurePosixPath(cell.strip().replace("\\", "/"))
    return _of_camera(nfc(name.stem if name.suffix.lower() in _ENDINGS else name.name))


def _of_camera(stem: str) -> str:
    """Return the name of a clip without that of the camera, which AUTSL's table of classes leaves out."""
    return re.sub(r"_(?:color|colour|rgb)$", "", stem)


@once_a_read
def _clips_below(folder: Path) -> dict[str, str]:
    """Return the path of each clip in a folder and in those in it, relative to it, by its name without the ending."""
    found: dict[str, str] = {}
    twice: set[str] = set()
    try:
        folders = ["", *listing_of(folder).folders[:_MOST_FOLDERS]]
        for inner in folders:
            for name in listing_of(folder / inner).files:
                if name.lower().endswith(_CLIPS):
                    stem = _of_camera(nfc(PurePosixPath(name).stem))
                    twice |= {stem} & found.keys()
                    found[stem] = f"{inner}/{name}" if inner else name
    except OSError:
        return {}
    return {stem: path for stem, path in found.items() if stem not in twice}


def _rows_of_json(content: Any) -> tuple[list[str], list[list[str]]]:
    """Return the columns and the rows of a list of clips, whatever its form; none if it is no such list."""
    rows = list(_objects(content, {}))
    header = list(dict.fromkeys(key for row in rows for key in row))
    return header, [[plain_label(row[key]) if row.get(key) is not None else "" for key in header] for row in rows]


def _objects(content: Any, outer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a flat object for each clip; `outer` is what holds for all of them."""
    if isinstance(content, list):
        for entry in content:
            if isinstance(entry, str | int):
                yield {**outer, "name": entry}
            else:
                yield from _objects(entry, outer)
        return
    if not isinstance(content, dict):
        return
    plain = {key: value for key, value in content.items() if not isinstance(value, dict | list)}
    nested = {key: value for key, value in content.items() if isinstance(value, dict | list)}
    lists = {
        key: value for key, value in nested.items() if isinstance(value, list) and value and isinstance(value[0], dict)
    }
    if find_column([*content, *outer], LABEL_COLUMNS) is not None or "name" in outer:
        if len(lists) == 1:
            yield from _objects(next(iter(lists.values())), {**outer, **plain})
        else:
            yield {**outer, **plain}
    elif nested and not plain:
        for key, value in nested.items():
            yield from _objects(value, {**outer, _kind_of(key, value): key})
    elif not nested:
        for name, label in plain.items():
            yield {**outer, "name": name, "label": label}


def _kind_of(key: str, value: Any) -> str:
    """Return what a key of a nested object is: a split, the name of a clip, or a class."""
    try:
        split_name(key, "")
    except UserError:
        return "name" if isinstance(value, dict) else "label"
    return "split"

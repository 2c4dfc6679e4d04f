"""Makes clips of the rows of a table: a row a clip, or rows that are the frames of one clip where that is certain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from shlex import quote

import numpy as np

from ....common.errors import UserError
from ...specs import Reading
from ...text import find_column, natural_key
from ..raw import RawClips
from .columns import CLIP_COLUMNS, FRAME_COLUMNS, KNOWN_GROUPS, Columns, is_group
from .number_table import NumberTable

_RECORDING = "recording"


def clips_of_rows(
    table: NumberTable,
    columns: Columns,
    header: Sequence[str],
    numbers: Sequence[int],
    reading: Reading,
    *,
    name: str,
    source_format: str,
) -> RawClips:
    """Return a table's rows as clips; splits are as the table spells them.

    Rows are the frames of one clip if columns name a clip and the number of a frame in it (`sequence`, `frame`), and no
    number stands twice in a clip of one class, signer and view. Raises `UserError` where this is likely but not certain.
    """
    labels = table.texts[columns.label]
    warnings: list[str] = []
    notes: list[str] = []
    order, starts = _frames_of_clips(table, columns, header, reading, notes, warnings)
    if order is not None:
        if not np.array_equal(order, np.arange(len(order))):
            table.numbers[...] = table.numbers[order]
        rows = order[starts[:-1]].tolist()
        offsets = starts
    else:
        rows = range(len(labels))
        offsets = np.arange(len(labels) + 1, dtype=np.int64)

    def of_clips(column: int) -> list[str]:
        cells = table.texts[column]
        return [cells[row] for row in rows]

    kept = (*KNOWN_GROUPS, reading.group)
    groups = {kind: of_clips(column) for kind, column in columns.groups.items()}
    groups = {kind: texts for kind, texts in groups.items() if kind in kept or is_group(texts)}
    if columns.signer >= 0:
        groups = {"signer": of_clips(columns.signer), **groups}
    return RawClips(
        name=name,
        source_format=source_format,
        values=table.numbers,
        offsets=offsets,
        labels=of_clips(columns.label),
        groups=groups,
        splits=of_clips(columns.split) if columns.split >= 0 else [""] * len(rows),
        number_names=[header[index] for index in numbers] if table.has_header else None,
        notes=tuple(notes),
        warnings=tuple(warnings),
        where=lambda index: table.where(rows[index]),
    )


def _frames_of_clips(
    table: NumberTable,
    columns: Columns,
    header: Sequence[str],
    reading: Reading,
    notes: list[str],
    warnings: list[str],
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the rows in the order of their clips and frames and the offsets of the clips; `None` if a row is a clip."""
    recording = columns.groups.get(_RECORDING, -1)
    no_clips = (None, np.zeros(0, dtype=np.int64))
    frame_name = repr(header[columns.frame]) if columns.frame >= 0 else ""
    is_clip = recording >= 0 and find_column([header[recording]], CLIP_COLUMNS) is not None
    if not is_clip:
        if columns.frame >= 0:
            warnings.append(_frame_without_clip(table, columns, header))
        return no_clips
    clip_name = header[recording]
    within = [column for column in (columns.signer, columns.groups.get("view", -1), recording) if column >= 0]
    if not _repeats(table, [columns.label, *within]):
        return no_clips
    if reading.group in (clip_name, _RECORDING):
        notes.append(f"a row is a clip of one frame; rows of one {clip_name!r} stay together, as --group says")
        return no_clips
    first, second = _first_pair(table, [columns.label, *within])
    rows = f"as {table.where(first)} and {table.where(second).rpartition(', ')[2]}"
    if columns.frame < 0:
        raise UserError(
            f"{table.form.path}: several rows have the same {clip_name!r}, {rows}; if they are frames of one clip, add a "
            f"column 'frame' that numbers them; if each is a sample of its own, add --group {quote(clip_name)}"
        )
    if _repeats(table, [columns.label, *within, columns.frame]):
        twice, again = _first_pair(table, [columns.label, *within, columns.frame])
        raise UserError(
            f"{table.form.path}: {frame_name} has a number twice in a {clip_name!r}, as {table.where(twice)} and "
            f"{table.where(again).rpartition(', ')[2]}; number the frames of each clip, or, if each row is a sample of its "
            f"own, add --group {quote(clip_name)}"
        )
    if len(_ids(table, within)[1]) < len(_ids(table, [columns.label, *within])[1]) and not _repeats(
        table, [*within, columns.frame]
    ):
        raise UserError(
            f"{table.form.path}: the class changes within a {clip_name!r}; name each clip of one class in it by a column "
            f"'clip', or, if each row is a sample of its own, add --group {quote(clip_name)}"
        )
    ids, clips = _ids(table, [columns.label, *within])
    if columns.split >= 0 and len(_ids(table, [columns.label, *within, columns.split])[1]) > len(clips):
        raise UserError(f"{table.form.path}: rows of one {clip_name!r} are in several splits; give them one")
    notes.append(f"{len(ids):,} rows are frames of {len(clips):,} clips by the columns {clip_name!r} and {frame_name}")
    odd = next((row for row, text in enumerate(table.texts[columns.frame]) if not _is_place(text)), None)
    if odd is not None:
        raise UserError(
            f"{table.where(odd)}, column {frame_name}: {table.texts[columns.frame][odd]!r} is no place in a clip; number the "
            "frames of each clip"
        )
    numbers = {text: place for place, text in enumerate(sorted(set(table.texts[columns.frame]), key=_frame_key))}
    frames = np.array([numbers[text] for text in table.texts[columns.frame]])
    order = np.lexsort((frames, ids))
    starts = np.zeros(len(clips) + 1, dtype=np.int64)
    np.cumsum(np.bincount(ids, minlength=len(clips)), out=starts[1:])
    return order, starts


def _is_place(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return bool(text.strip())


def _frame_key(text: str) -> tuple[int, float, tuple[tuple[int, int, str], ...]]:
    try:
        return 0, float(text), ()
    except ValueError:
        return 1, 0.0, natural_key(text)


def _frame_without_clip(table: NumberTable, columns: Columns, header: Sequence[str]) -> str:
    name = repr(header[columns.frame])
    is_frame = find_column([header[columns.frame]], FRAME_COLUMNS) is not None
    if is_frame and _repeats(table, [columns.frame]):
        return (
            f"{name} repeats its numbers, but no column names the clip of a row: each row is read as a clip of one frame; "
            "if rows are frames of clips, add a column 'clip'"
        )
    return f"the column {name} is no landmark and is left out"


def _ids(table: NumberTable, columns: Sequence[int]) -> tuple[np.ndarray, dict[tuple[str, ...], int]]:
    """Return for each row the number of its combination of cells, from 0 in the order of the rows, and the combinations."""
    known: dict[tuple[str, ...], int] = {}
    keys = zip(*(table.texts[column] for column in columns), strict=True)
    return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64), known


def _repeats(table: NumberTable, columns: Sequence[int]) -> bool:
    ids, known = _ids(table, columns)
    return len(known) < len(ids)


def _first_pair(table: NumberTable, columns: Sequence[int]) -> tuple[int, int]:
    """Return the first two rows with equal cells in some columns."""
    seen: dict[int, int] = {}
    for row, number in enumerate(_ids(table, columns)[0].tolist()):
        if number in seen:
            return seen[number], row
        seen[number] = row
    raise AssertionError("no two rows are equal")

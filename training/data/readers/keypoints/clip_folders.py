"""What the folders above a clip, or a table beside them, say about it: its class, its signer, its split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from ....common.errors import UserError
from ...specs import Reading
from ...text import (
    LABEL_COLUMNS,
    SIGNER_COLUMNS,
    SPLIT_COLUMNS,
    files_with,
    find_column,
    nfc,
    split_name,
    split_of_file,
)
from ..arrays.levels import is_level, told_level
from ..tables.columns import column_named, unknown_column
from ..tables.csv_rows import header_of, read_table

_CLIP_COLUMNS = (
    *("path", "file", "filename", "filepath", "posepath", "landmarkpath", "keypointpath", "clip", "clipid"),
    *("video", "videoid", "videopath", "videofile", "sequence", "sequenceid", "sampleid", "name", "id"),
)
_PERSON = re.compile(
    r"(?:signer|person|people|user|subject|speaker|participant|actor|p|s|u)[ _-]?[0-9]+", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class ClipFacts:
    """What is known of the clips that are kept, one value each."""

    kept: list[int]
    """The indices of the clips that stand in the table; all of them without one."""
    labels: list[str]
    signers: list[str]
    splits: list[str]
    notes: tuple[str, ...] = ()


def facts_of_clips(root: Path, clips: Sequence[PurePath], reading: Reading) -> ClipFacts:
    """Return the facts of clips, files or folders relative to `root`.

    A table in `root` with a column for the clips and one for the class decides; without one the folder above a clip is
    its class, and a folder above that a split or a signer. Raises `UserError` where that is not certain.
    """
    table = find_table(root, reading)
    return _of_table(table, clips, reading) if table is not None else _of_folders(root, clips, reading)


def find_table(root: Path, reading: Reading) -> Path | None:
    """Return the CSV file in a folder that names clips and their classes, or `None`. Raises `UserError` for several."""
    headers = {file: header_of(file) for file in files_with(root, ".csv", ".tsv")}
    found = [file for file, header in headers.items() if _columns(header, reading) is not None]
    if not found and reading.label is not None:
        of_clips = (file for file, header in headers.items() if find_column(header, _CLIP_COLUMNS) is not None)
        if (file := next(of_clips, None)) is not None and not is_level(reading.label):
            raise unknown_column(headers[file], reading.label, "label", file)
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise UserError(f"{root}: several tables name its clips ({names}); keep one of them there")
    return found[0] if found else None


def _columns(header: list[str], reading: Reading) -> tuple[int, int] | None:
    clip = find_column(header, _CLIP_COLUMNS)
    label = find_column(header, LABEL_COLUMNS) if reading.label is None else column_named(header, reading.label)
    return None if clip is None or label in (None, -1) else (clip, label)


def _of_table(file: Path, clips: Sequence[PurePath], reading: Reading) -> ClipFacts:
    table = read_table(file, reading.encoding)
    clip_column, label_column = _columns(table.header, reading) or (0, 0)
    rows: dict[str, int] = {}
    for row, cells in enumerate(table.cells):
        rows.setdefault(_key(cells[clip_column]), row)
    found = [rows.get(_key(clip.as_posix()), rows.get(_key(clip.name))) for clip in clips]
    kept = [index for index, row in enumerate(found) if row is not None]
    if not kept:
        raise UserError(
            f"{table.where(0)}: {table.cells[0][clip_column]!r} is not among the {len(clips):,} clips, such as "
            f"{clips[0].as_posix()!r}; write their names below {file.parent} in its column {table.header[clip_column]!r}"
        )
    chosen = [row for row in found if row is not None]
    notes = [f"classes by the column {table.header[label_column]!r} of {file.name}"]
    if len(kept) < len(clips):
        notes.append(f"{len(clips) - len(kept):,} clips without a row in {file.name} left out")
    if unused := len(rows) - len(set(chosen)):
        notes.append(f"{unused:,} rows of {file.name} name no clip that is there")
    if reading.signer is None:
        signers = table.column(SIGNER_COLUMNS, "")
    elif (signer_column := column_named(table.header, reading.signer)) >= 0:
        signers = table.cells_of(signer_column)
    else:
        raise unknown_column(table.header, reading.signer, "signer", file)
    splits = table.column(SPLIT_COLUMNS, "")
    return ClipFacts(
        kept=kept,
        labels=[table.cells[row][label_column].strip() for row in chosen],
        signers=[signers[row] for row in chosen],
        splits=[split_name(splits[row], table.where(row)) for row in chosen],
        notes=tuple(notes),
    )


def _key(path: str) -> str:
    """Return the name under which a clip is looked up: without `./` and the ending of its file."""
    plain = nfc(path).strip().replace("\\", "/").removeprefix("./").rstrip("/")
    return re.sub(r"\.(?:pose|json|jsonl|mp4|avi|mov|mkv|webm|npy)$", "", plain, flags=re.IGNORECASE)


def _of_folders(root: Path, clips: Sequence[PurePath], reading: Reading) -> ClipFacts:
    above = [tuple(map(nfc, clip.parts[:-1])) for clip in clips]
    depths = {len(parts) for parts in above}
    if depths == {0}:
        raise UserError(
            f"{root}: its clips have no class; put each into a folder named after its class, or beside them a "
            "labels.csv with the columns path and label"
        )
    if len(depths) > 1:
        first, other = (next(clip for clip in clips if len(clip.parts) - 1 == depth) for depth in sorted(depths)[:2])
        raise UserError(
            f"{root}: its clips are not all equally deep ({first.as_posix()} and {other.as_posix()}); put each at "
            "<class>/<clip>"
        )
    levels = list(zip(*above, strict=True))
    label, signer = (
        told_level(root, levels, name, option)
        for option, name in (("label", reading.label), ("signer", reading.signer))
    )
    last, splits = len(levels) - 1, [""] * len(clips)
    for level, of_level in enumerate(levels):
        names = set(of_level)
        if level in (label, signer):
            continue
        if level == last and label is None:
            label = level
        elif all(split_of_file(Path(name)) for name in names) and len(names) > 1:
            splits = [split_of_file(Path(name)) for name in of_level]
        elif signer is None and all(map(_PERSON.fullmatch, names)):
            signer = level
        elif label is None and len(names) > 1:  # classes above people
            if level != last - 1 or not (signer == last or all(map(_PERSON.fullmatch, levels[last]))):
                raise _which_is_the_class(root, above[0])
            label, signer = level, last
    if label is None:
        raise _which_is_the_class(root, above[0])
    signers = levels[signer] if signer is not None else [""] * len(clips)
    return ClipFacts(kept=list(range(len(clips))), labels=list(levels[label]), signers=list(signers), splits=splits)


def is_above_classes(name: str) -> bool:
    """Return whether a folder's name is that of a split or of a person, not of a class."""
    return bool(split_of_file(Path(name))) or _PERSON.fullmatch(name) is not None


def _which_is_the_class(root: Path, parts: Sequence[str]) -> UserError:
    return UserError(
        f"{root}: which folder of {'/'.join(parts)}/ is the class? say --label folder1 (the outermost) to folder{len(parts)}, "
        "and --signer folderN if one is the signer, or put a labels.csv with the columns path, label and signer there"
    )

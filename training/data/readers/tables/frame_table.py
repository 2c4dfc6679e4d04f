"""Reads a table of frames (video, frame, left-x, left-y, ...) and tables of segments (video, start, end, label).

Such tables are those of Boston-104 hands, github.com/udacity/AIND-Recognizer, as `hands_condensed.csv` and `train_words.csv`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....common.errors import UserError
from ...layouts.named import named_layout
from ...specs import Reading
from ...text import (
    LABEL_COLUMNS,
    SPLIT_COLUMNS,
    files_with,
    find_column,
    only_file,
    split_name,
    split_of_file,
)
from ..raw import Faults, RawClips, cut, raw_clips
from .columns import columns_of
from .csv_rows import Table, header_of, read_table
from .number_table import Form, read_numbers

NAME = "frame_table"
LOOKS_FOR = "a CSV of frames (video, frame, <name>-x, <name>-y) and one of segments (video, start, end, label)"
USES: tuple[str, ...] = ("label", "signer")

_VIDEO = ("video", "videoid", "clip", "clipid", "recording", "file", "filename")
_FRAME = ("frame", "frameid", "frameindex", "frameno", "framenumber")
_START = ("start", "startframe", "framestart", "begin", "beginframe", "firstframe")
_END = ("end", "endframe", "frameend", "stop", "stopframe", "lastframe")

_COORDINATE = re.compile(r"(?P<name>.+)[\s._-](?P<kind>[xyz]|confidence|visibility|score|likelihood)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class _Segment:
    video: str
    first: int
    last: int
    label: str
    signer: str
    group: str
    """Of the column that `--group` names."""
    split: str
    where: str


def detect(path: Path) -> bool:
    """Return whether `path` is a frame table, or a folder with one and a segment table."""
    if path.is_dir():
        return bool(_files(path, _is_frame_table) and _files(path, _is_segment_table))
    return path.suffix.lower() == ".csv" and _is_frame_table(header_of(path))


def is_table(header: Sequence[str]) -> bool:
    """Return whether a CSV's first row is that of a frame table or of a segment table."""
    return _is_frame_table(header) or _is_segment_table(header)


def read(path: Path, reading: Reading) -> RawClips:
    """Return the segments of all segment tables in the folder, start and end frame inclusive.

    The split comes from the names of the files (`train_words.csv`) or from a `split` column. A landmark at exactly (0, 0)
    or with confidence 0 is missing, and so is a frame that the table skips.
    """
    folder = path if path.is_dir() else path.parent
    frames_file = only_file(_files(path, _is_frame_table), path, "frame table") if path.is_dir() else path
    tables = [read_table(file, reading.encoding) for file in _files(folder, _is_segment_table)]
    if not tables:
        raise UserError(
            f"{folder}: no table of segments (video, start, end, label) beside {frames_file.name}; write one with these columns"
        )
    file_splits = [split_of_file(table.path) for table in tables]
    if any(file_splits) and not all(file_splits):
        unnamed = tables[file_splits.index("")].path
        raise UserError(f"{unnamed}: name its split as the other segment tables do, as in train_{unnamed.name}")
    faults = Faults(folder)
    segments = [
        segment
        for table, file_split in zip(tables, file_splits, strict=True)
        for segment in _read_segments(table, file_split, reading, faults)
    ]
    names, videos = _read_frames(frames_file, reading)
    clips = [_clip(videos, segment, frames_file, faults) for segment in segments]
    faults.check()
    groups = {
        "signer": [segment.signer for segment in segments],
        "recording": [segment.video for segment in segments],
    }
    if reading.group is not None and reading.group not in groups:
        groups[reading.group] = [segment.group for segment in segments]
    return raw_clips(
        name=folder.resolve().name,
        source_format=NAME,
        layout=named_layout(names, clips[0].shape[2]),
        clips=clips,
        labels=[segment.label for segment in segments],
        groups=groups,
        splits=[segment.split for segment in segments],
        files=(frames_file.name, *(table.path.name for table in tables)),
        where=lambda index: segments[index].where,
    )


def _is_frame_table(header: Sequence[str]) -> bool:
    return (
        find_column(header, LABEL_COLUMNS) is None
        and find_column(header, _VIDEO) is not None
        and find_column(header, _FRAME) is not None
        and any(_COORDINATE.fullmatch(name.strip()) for name in header)
    )


def _is_segment_table(header: Sequence[str]) -> bool:
    return all(find_column(header, names) is not None for names in (_VIDEO, _START, _END, LABEL_COLUMNS))


def _files(folder: Path, kind: Callable[[Sequence[str]], bool]) -> list[Path]:
    return [file for file in files_with(folder, ".csv") if kind(header_of(file))]


def _read_segments(table: Table, file_split: str, reading: Reading, faults: Faults) -> list[_Segment]:
    columns = columns_of(table.header, reading, table.path)
    group_at = columns.groups.get(reading.group or "", -1)
    rows = zip(
        table.column(_VIDEO),
        table.column(_START),
        table.column(_END),
        table.cells_of(columns.label),
        table.cells_of(columns.signer) if columns.signer >= 0 else [""] * len(table.cells),
        table.cells_of(group_at) if group_at >= 0 else [""] * len(table.cells),
        table.column(SPLIT_COLUMNS, default=file_split),
        strict=True,
    )
    segments = []
    for row, (video, first, last, label, signer, group, split) in enumerate(rows):
        where = table.where(row)
        try:
            split = split_name(split, where)
        except UserError as error:
            faults.add(str(error))
            continue
        wrong = [cell for cell in (first, last) if not cell.isdecimal()]
        for cell in wrong:
            faults.add(f"{where}: {cut(cell)} is not the number of a frame; write one")
        if not wrong:
            segments.append(
                _Segment(
                    video=video,
                    first=int(first),
                    last=int(last),
                    label=label,
                    signer=signer,
                    group=group,
                    split=split,
                    where=where,
                )
            )
    return segments


def _read_frames(file: Path, reading: Reading) -> tuple[list[str], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Return the landmarks' names and video -> (frame numbers, increasing; landmarks [frames, landmarks, coords])."""
    form = Form.of(file, reading.encoding)
    header = form.rows[0]
    columns: dict[str, dict[str, int]] = {}
    for index, name in enumerate(header):
        match = _COORDINATE.fullmatch(name.strip())
        if match:
            kind = match["kind"].lower()
            columns.setdefault(match["name"].lower(), {})[kind if kind in "xyz" else "confidence"] = index
    axes = [axis for axis in "xyz" if all(axis in column for column in columns.values())]
    if not columns or axes[:2] != ["x", "y"]:
        raise UserError(
            f"{file}: a landmark without x or y; name both columns as left-x, left-y; landmarks: {', '.join(columns)}"
        )
    video, frame = find_column(header, _VIDEO), find_column(header, _FRAME)
    if video is None or frame is None:
        raise UserError(f"{file}: no column {(_VIDEO if video is None else _FRAME)[0]!r} in its header")
    places = [column[axis] for column in columns.values() for axis in axes]
    confidences = [column["confidence"] for column in columns.values() if "confidence" in column]
    table = read_numbers(form, has_header=True, texts=[video, frame], numbers=[*places, *confidences])
    faults = Faults(file)
    for row, cell in enumerate(table.texts[frame]):
        if not cell.isdecimal():
            faults.add(f"{table.where(row)}: {cut(cell)} is not a frame number")
    faults.check()
    values = table.numbers[:, : len(places)].reshape(-1, len(columns), len(axes))
    values[(values == 0).all(axis=2)] = np.nan
    with_confidence = [place for place, column in enumerate(columns.values()) if "confidence" in column]
    for place, landmark in enumerate(with_confidence):
        values[table.numbers[:, len(places) + place] == 0, landmark] = np.nan
    frames = np.array([int(cell) for cell in table.texts[frame]], dtype=np.int64)
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(table.texts[video]):
        rows_of.setdefault(name, []).append(row)
    by_video = {}
    for name, rows in rows_of.items():
        ordered = np.array(rows)[np.argsort(frames[rows], kind="stable")]
        by_video[name] = (frames[ordered], values[ordered])
    return list(columns), by_video


def _clip(
    videos: dict[str, tuple[np.ndarray, np.ndarray]], segment: _Segment, frames_file: Path, faults: Faults
) -> np.ndarray:
    """Return a segment's frames [frames, landmarks, coords]; a frame that the table skips is missing."""
    form = next(iter(videos.values()))[1].shape[1:]
    if segment.video not in videos:
        faults.add(
            f"{segment.where}: video {cut(segment.video)} is not in {frames_file.name}; correct its name, or remove the row"
        )
        return np.empty((0, *form), dtype=np.float32)
    frames, values = videos[segment.video]
    if not frames[0] <= segment.first <= segment.last <= frames[-1]:
        faults.add(
            f"{segment.where}: frames {segment.first} to {segment.last} of video {cut(segment.video)}, "
            f"which has frames {frames[0]} to {frames[-1]}; correct start and end"
        )
        return np.empty((0, *form), dtype=np.float32)
    start, stop = np.searchsorted(frames, (segment.first, segment.last + 1))
    clip = np.full((segment.last - segment.first + 1, *form), np.nan, dtype=np.float32)
    clip[frames[start:stop] - segment.first] = values[start:stop]
    return clip

"""Reads a table of frames (video, frame, left-x, left-y, ...) and tables of segments (video, start, end, label)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....common.errors import UserError
from ...landmarks import LandmarkLayout
from ...specs import Reading
from ...text import (
    LABEL_COLUMNS,
    SIGNER_COLUMNS,
    SPLIT_COLUMNS,
    Table,
    files_with,
    find_column,
    header_of,
    only_file,
    read_table,
    split_name,
    split_of_file,
    to_numbers,
)
from ..raw import RawClips, raw_clips

NAME = "frame_table"
LOOKS_FOR = "a CSV of frames (video, frame, <name>-x, <name>-y) and one of segments (video, start, end, label)"

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
    tables = [read_table(file) for file in _files(folder, _is_segment_table)]
    if not tables:
        raise UserError(f"{folder}: no table of segments (video, start, end, label) beside {frames_file.name}")
    file_splits = [split_of_file(table.path) for table in tables]
    if any(file_splits) and not all(file_splits):
        unnamed = tables[file_splits.index("")].path
        raise UserError(f"{unnamed}: name its split as the other segment tables do, as in train_{unnamed.name}")
    segments = [
        segment
        for table, file_split in zip(tables, file_splits, strict=True)
        for segment in _read_segments(table, file_split)
    ]
    names, videos = _read_frames(read_table(frames_file))
    clips = [_clip(videos, segment, frames_file) for segment in segments]
    return raw_clips(
        name=folder.resolve().name,
        source_format=NAME,
        layout=_layout(names, clips[0].shape[2]),
        clips=clips,
        labels=[segment.label for segment in segments],
        groups={"signer": [segment.signer for segment in segments]},
        splits=[segment.split for segment in segments],
        where=lambda index: segments[index].where,
    )


def _is_frame_table(header: Sequence[str]) -> bool:
    return (
        find_column(header, _VIDEO) is not None
        and find_column(header, _FRAME) is not None
        and any(_COORDINATE.fullmatch(name.strip()) for name in header)
    )


def _is_segment_table(header: Sequence[str]) -> bool:
    return all(find_column(header, names) is not None for names in (_VIDEO, _START, _END, LABEL_COLUMNS))


def _files(folder: Path, kind: Callable[[Sequence[str]], bool]) -> list[Path]:
    return [file for file in files_with(folder, ".csv") if kind(header_of(file))]


def _read_segments(table: Table, file_split: str) -> list[_Segment]:
    columns = zip(
        table.column(_VIDEO),
        _whole_numbers(table, _START),
        _whole_numbers(table, _END),
        table.column(LABEL_COLUMNS),
        table.column(SIGNER_COLUMNS, default=""),
        table.column(SPLIT_COLUMNS, default=file_split),
        strict=True,
    )
    return [
        _Segment(
            video=video,
            first=first,
            last=last,
            label=label,
            signer=signer,
            split=split_name(split, table.where(row)),
            where=table.where(row),
        )
        for row, (video, first, last, label, signer, split) in enumerate(columns)
    ]


def _whole_numbers(table: Table, names: Sequence[str]) -> list[int]:
    cells = table.column(names)
    for row, cell in enumerate(cells):
        if not cell.isdecimal():
            raise UserError(f"{table.where(row)}: {cell!r} is not a frame number")
    return [int(cell) for cell in cells]


def _read_frames(table: Table) -> tuple[list[str], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Return the landmarks' names and video -> (frame numbers, increasing; landmarks [frames, landmarks, coords])."""
    columns: dict[str, dict[str, int]] = {}
    for index, name in enumerate(table.header):
        match = _COORDINATE.fullmatch(name.strip())
        if match:
            kind = match["kind"].lower()
            columns.setdefault(match["name"].lower(), {})[kind if kind in "xyz" else "confidence"] = index
    axes = [axis for axis in "xyz" if all(axis in column for column in columns.values())]
    if not columns or axes[:2] != ["x", "y"]:
        raise UserError(f"{table.path}: a landmark without both an x and a y column; landmarks: {', '.join(columns)}")
    places = [[column[axis] for axis in axes] for column in columns.values()]
    values = _numbers_at(table, [place for landmark in places for place in landmark]).reshape(
        -1, len(places), len(axes)
    )
    values[(values == 0).all(axis=2)] = np.nan
    for landmark, column in enumerate(columns.values()):
        if "confidence" in column:
            values[_numbers_at(table, [column["confidence"]])[:, 0] == 0, landmark] = np.nan
    videos, frames = table.column(_VIDEO), np.array(_whole_numbers(table, _FRAME))
    rows_of: dict[str, list[int]] = {}
    for row, video in enumerate(videos):
        rows_of.setdefault(video, []).append(row)
    by_video = {}
    for video, rows in rows_of.items():
        ordered = np.array(rows)[np.argsort(frames[rows], kind="stable")]
        by_video[video] = (frames[ordered], values[ordered])
    return list(columns), by_video


def _numbers_at(table: Table, columns: Sequence[int]) -> np.ndarray:
    return to_numbers([[row[column] for column in columns] for row in table.cells], table.where)


def _clip(videos: dict[str, tuple[np.ndarray, np.ndarray]], segment: _Segment, frames_file: Path) -> np.ndarray:
    """Return a segment's frames [frames, landmarks, coords]; a frame that the table skips is missing."""
    if segment.video not in videos:
        raise UserError(f"{segment.where}: video {segment.video!r} is not in {frames_file.name}")
    frames, values = videos[segment.video]
    if not frames[0] <= segment.first <= segment.last <= frames[-1]:
        raise UserError(
            f"{segment.where}: frames {segment.first} to {segment.last} of video {segment.video!r}, "
            f"which has frames {frames[0]} to {frames[-1]}"
        )
    start, stop = np.searchsorted(frames, (segment.first, segment.last + 1))
    clip = np.full((segment.last - segment.first + 1, *values.shape[1:]), np.nan, dtype=np.float32)
    clip[frames[start:stop] - segment.first] = values[start:stop]
    return clip


def _layout(names: list[str], num_coords: int) -> LandmarkLayout:
    """Return the layout of named landmarks: centred on the nose or else the shoulders, left and right mirrored."""
    swapped = [re.sub("left|right", lambda side: "right" if side[0] == "left" else "left", name) for name in names]
    paired = swapped != names and set(swapped) == set(names)
    shoulders = tuple(index for index, name in enumerate(names) if "shoulder" in name)
    two_shoulders = shoulders if len(shoulders) == 2 else ()
    return LandmarkLayout(
        num_landmarks=len(names),
        num_coords=num_coords,
        center=(names.index("nose"),) if "nose" in names else two_shoulders,
        scale=((shoulders[0], shoulders[1]),) if two_shoulders else (),
        mirror=tuple(names.index(name) for name in swapped) if paired else (),
    )

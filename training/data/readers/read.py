"""The readers of landmark data, one file each, and the choice between them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from ...common.errors import UserError, flag_of, nearest
from ...common.small_files import expanded
from ..specs import Reading
from ..text import check_encoding, files_with, folders_in, listing_of, one_read
from .arrays import class_files, frame_folders, npz, windows, x_y_arrays
from .keypoints import aihub, islr, json_points, mediapipe_json, openpose, pose_files
from .raw import RawClips
from .tables import frame_table, hub, landmark_csv, libras, manifest, spoter, uea_ts
from .tables.csv_rows import first_rows
from .unknown import check_source, may_hold_clips, nearest_path, not_known, refuse_no_data


class Reader(Protocol):
    """The interface of a reader's module."""

    NAME: str
    LOOKS_FOR: str
    USES: tuple[str, ...]
    """Those of `Reading.label` and `Reading.signer` that say something about its data."""

    def detect(self, path: Path) -> bool:
        """Return whether an existing path looks like this format."""

    def read(self, path: Path, reading: Reading) -> RawClips:
        """Return its data. Raises `UserError` if it cannot be read."""


_SPECIFIC: tuple[Reader, ...] = (
    frame_folders,
    x_y_arrays,
    windows,
    class_files,
    npz,
    landmark_csv,
    manifest,
    spoter,
    uea_ts,
    frame_table,
    libras,
    islr,
    openpose,
    aihub,
    mediapipe_json,
    json_points,
    pose_files,
)
_MOST_LEVELS, _MOST_FOLDERS = 2, 50
"""Levels of folders below a path, and folders in each, in which data are looked for."""
READERS: dict[str, Reader] = {reader.NAME: reader for reader in (*_SPECIFIC, hub)}


def read_raw(source: str, reading: Reading) -> RawClips:
    """Return the clips of a path, or of a data set of the Hugging Face Hub by its name.

    The format is recognised from the path unless `reading` names it; a folder that holds one data set in the folders below
    it stands for that. Raises `UserError` if no format or several are recognised, for data that cannot be read, and for
    a column or an encoding that says nothing about them.
    """
    if reading.encoding is not None:
        check_encoding(reading.encoding)
    with one_read() as this:
        raw = _read_raw(source, reading)
        if reading.encoding is not None and not this.has_used_encoding:
            raise _does_nothing("encoding", reading, raw.source_format)
    return raw


def _read_raw(source: str, reading: Reading) -> RawClips:
    data_format = reading.format
    if data_format is not None and data_format not in READERS:
        raise UserError(
            f"unknown data format {data_format!r}{nearest(data_format, READERS)}; formats: {', '.join(READERS)}"
        )
    path = expanded(source)
    refuse_no_data(source, path)
    if path.exists():
        check_source(path)
        if data_format:
            return _read(READERS[data_format], path, reading)
        reader, place = _detect(path)
        raw = _read(reader, place, reading)
        if place == path:
            return raw
        where = place.relative_to(path).as_posix()
        return replace(raw, notes=(f"read from {where}, the only data set below {path.name}", *raw.notes))
    if source == "digits":
        raise UserError("digits: no such file or folder; scikit-learn's digits are pictures: add --task images")
    is_named = source.startswith(hub.PREFIX)
    if not is_named and data_format != hub.NAME:
        # Not asked of the Hub: a path with a typo is nobody else's business.
        near = nearest_path(path)
        may_be = hub.is_name(source) and "did you mean" not in near
        what = f"; a data set of the Hugging Face Hub is written {hub.PREFIX}{source}" if may_be else ""
        named = f"{source} ({path})" if source.startswith("~") else source
        raise UserError(f"{named}: no such file or folder{near}{what}")
    return hub.read_name(source.removeprefix(hub.PREFIX), reading)


def _read(reader: Reader, path: Path, reading: Reading) -> RawClips:
    for option in ("label", "signer"):
        if getattr(reading, option) is not None and option not in reader.USES:
            raise _does_nothing(option, reading, reader.NAME)
    return reader.read(path, reading)


def _does_nothing(option: str, reading: Reading, name: str) -> UserError:
    flag = f"{flag_of(option)} {getattr(reading, option)}"
    return UserError(f"{flag}: does nothing for {name} data; leave it out", option=option)


def _detect(path: Path) -> tuple[Reader, Path]:
    """Return the one reader that recognises a path, or the only data set in the two levels of folders below it."""
    if (reader := _reader_of(path)) is not None:
        return reader, path
    level = folders_in(path) if path.is_dir() else []
    for _ in range(_MOST_LEVELS):
        found = [(reader, folder) for folder in level[:_MOST_FOLDERS] if (reader := _reader_of(folder)) is not None]
        if len(found) == 1:
            return found[0]
        if found:
            shown = ", ".join(f"{folder.relative_to(path).as_posix()} ({reader.NAME})" for reader, folder in found[:5])
            rest = f" and {len(found) - 5:,} more" if len(found) > 5 else ""
            raise UserError(f"{path}: holds {len(found)} data sets, {shown}{rest}; name one of them, as {found[0][1]}")
        level = [below for folder in level[:_MOST_FOLDERS] for below in folders_in(folder)]
    raise not_known(path, ", ".join(READERS))


def _reader_of(path: Path) -> Reader | None:
    """Return the reader that recognises a path; `hub`, the most general, comes last. Raises `UserError` for several."""
    found = [reader for reader in _SPECIFIC if reader.detect(path)]
    if manifest in found and any(_reads_table(reader, path) for reader in found):
        found.remove(manifest)
    if manifest in found:  # it says what the other files are
        return manifest
    if len(found) > 1:
        raise UserError(_of_several_formats(path, found))
    return found[0] if found else hub if hub.detect(path) and may_hold_clips(path) else None


def _reads_table(reader: Reader, path: Path) -> bool:
    """Return whether a reader reads the table of clips in a folder itself: it knows more of the files than the table."""
    if reader is mediapipe_json and path.is_dir():
        rows = [row for file in files_with(path, ".csv", ".tsv") for row in first_rows(file, 2)]
        return any(cell.lower().endswith((".json", ".jsonl")) for row in rows for cell in row)
    return reader is islr


def _of_several_formats(path: Path, found: list[Reader]) -> str:
    formats = " or ".join(reader.NAME for reader in found)
    message = f"{path}: holds data of several formats; choose --data-format {formats}"
    if path.is_dir():
        found_in = listing_of(path)
        inside = [path / name for names in (found_in.folders, found_in.files) for name in names[:_MOST_FOLDERS]]
        named = [next((str(entry) for entry in inside if reader.detect(entry)), "") for reader in found]
        message += f", or name one of {', '.join(name for name in named if name)}" if any(named) else ""
    return message

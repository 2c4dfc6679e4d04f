"""Reads clips of which nothing says a class, to predict it: a file of one clip, a folder of such files, an array of clips."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ....common.errors import UserError
from ...specs import Reading
from ...text import files_with
from ..raw import Faults, RawClips, raw_clips
from .clip_files import SUFFIXES, TEXT, ClipFile, names_of, open_clip, parts_of
from .manifest import Row, numbers_of

NAME = "unlabelled"
UNLABELLED = "unlabelled"
"""The class that stands for none."""


def read_unlabelled(path: Path, reading: Reading, read: Callable[[str, Reading], RawClips]) -> RawClips:
    """Return the clips of a path without their classes: the label of each is `UNLABELLED`.

    A file of arrays or of a table is one clip, or clips where it is [clips, frames, points, coords]. All else is read by
    `read` as if it stood in a folder of a class, `<class>/<clip>.json` or `<class>/<clip>/<frame>.npy`. Raises `UserError`.
    """
    files = [path] if path.is_file() else _files(path)
    if not files:
        return _as_a_class(path, reading, read)
    try:
        return _of_files(path, files, reading)
    except UserError as error:
        try:
            return _as_a_class(path, reading, read)
        except UserError:
            raise error from None


def _files(folder: Path) -> list[Path]:
    """Return the files of clips directly in a folder. Raises `UserError` where they are of several kinds."""
    files = files_with(folder, *SUFFIXES, TEXT)
    endings = sorted({file.suffix.lower() for file in files})
    if len(endings) > 1:
        raise UserError(
            f"{folder}: holds files of several kinds ({', '.join(endings)}); name a folder with clips of one"
        )
    return files


def _of_files(path: Path, files: list[Path], reading: Reading) -> RawClips:
    faults, rows, clips = Faults(path), list[Row](), list[ClipFile]()
    for file in files:
        try:
            clips.append(open_clip(file, reading.encoding))
            rows.append(Row(file=file, label=UNLABELLED, split="", groups={}, where=str(file)))
        except UserError as error:
            faults.add(str(error))
    faults.check()
    if len(clips) == 1 and len(shape := clips[0].shape) == 4 and 0 not in shape:
        values = np.empty(shape, dtype=np.float32)
        clips[0].read_into(values)
        return raw_clips(
            list(values),
            name=path.stem,
            source_format=NAME,
            labels=[UNLABELLED] * len(values),
            where=lambda index: f"{path}, clip {index}",
        )
    notes: list[str] = []
    values, offsets = numbers_of(path, rows, clips, reading, faults, notes)
    return RawClips(
        name=path.stem if path.is_file() else path.resolve().name,
        source_format=NAME,
        values=values,
        offsets=offsets,
        labels=[UNLABELLED] * len(rows),
        parts=parts_of(clips[0]),
        number_names=names_of(clips[0]) or None,
        notes=tuple(notes),
        where=lambda index: rows[index].where,
    )


def _as_a_class(path: Path, reading: Reading, read: Callable[[str, Reading], RawClips]) -> RawClips:
    """Return what `read` makes of a path that stands, by a link, in a folder of one class."""
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        place = Path(folder, UNLABELLED)
        if path.is_dir():
            place.symlink_to(path.resolve(), target_is_directory=True)
        else:
            place.mkdir()
            (place / path.name).symlink_to(path.resolve())
        known = str(path if path.is_dir() else path.parent)

        def in_place(text: str) -> str:
            return text.replace(str(place), known).replace(folder, known)

        try:
            raw = read(folder, replace(reading, format=None, label=None, signer=None))
        except UserError as error:
            raise UserError(in_place(str(error)), option=error.option) from None
    if set(raw.labels) != {UNLABELLED}:
        raise UserError(f"{path}: clips of several classes, which are no files of clips; give one clip in a file")
    return replace(raw, where=lambda index: in_place(raw.where(index)), groups={}, splits=None)

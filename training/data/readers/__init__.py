"""The readers of landmark data, one file each, and the choice between them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ...common.errors import UserError, nearest
from ..specs import Reading
from .arrays import frame_folders, npz
from .keypoints import aihub, islr, openpose
from .raw import RawClips
from .tables import frame_table, hub, landmark_csv, libras, uea_ts


class Reader(Protocol):
    """The interface of a reader's module."""

    NAME: str
    LOOKS_FOR: str

    def detect(self, path: Path) -> bool:
        """Return whether an existing path looks like this format."""

    def read(self, path: Path, reading: Reading) -> RawClips:
        """Return its data. Raises `UserError` if it cannot be read."""


_SPECIFIC: tuple[Reader, ...] = (frame_folders, landmark_csv, npz, uea_ts, frame_table, libras, islr, openpose, aihub)
READERS: dict[str, Reader] = {reader.NAME: reader for reader in (*_SPECIFIC, hub)}


def read_raw(source: str, reading: Reading) -> RawClips:
    """Return the clips of a path, or of a data set of the Hugging Face Hub by its name.

    The format is recognised from the path unless `reading` names it. Raises `UserError` if no format or several are
    recognised, and for data that cannot be read.
    """
    data_format = reading.format
    if data_format is not None and data_format not in READERS:
        raise UserError(
            f"unknown data format {data_format!r}{nearest(data_format, READERS)}; formats: {', '.join(READERS)}"
        )
    path = Path(source).expanduser()
    if path.exists():
        return (READERS[data_format] if data_format else _detect(path)).read(path, reading)
    if data_format not in (None, hub.NAME):
        raise UserError(f"{source}: no such file or folder")
    return hub.read_name(source, reading)


def _detect(path: Path) -> Reader:
    """Return the one reader that recognises the path; `hub`, the most general, comes last."""
    found = [reader for reader in _SPECIFIC if reader.detect(path)]
    if len(found) > 1:
        formats = " or ".join(reader.NAME for reader in found)
        raise UserError(
            f"{path}: holds data of several formats; name one file or folder in it, or choose --data-format {formats}"
        )
    if not found and hub.detect(path):
        return hub
    if not found:
        looked_for = "; ".join(f"{reader.NAME}: {reader.LOOKS_FOR}" for reader in READERS.values())
        raise UserError(f"{path}: no known data format; looked for {looked_for}")
    return found[0]

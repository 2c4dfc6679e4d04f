"""Reads UCI Libras Movement, `movement_libras.data`: a clip per row, 45 frames of a hand's centre (x, y) and the class.

The set is archive.ics.uci.edu/dataset/181/libras+movement.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ....common.errors import UserError
from ...layouts.mediapipe import points
from ...specs import Reading
from ...text import plain_label, read_text
from ..raw import Faults, RawClips, cut
from .csv_rows import to_float

NAME = "libras"
LOOKS_FOR = "movement_libras.data"
USES: tuple[str, ...] = ()

_FRAMES = 45


def detect(path: Path) -> bool:
    """Return whether `path` is a `movement_libras*.data`, or a folder with `movement_libras.data`."""
    if path.is_dir():
        return (path / LOOKS_FOR).is_file()
    return path.name.startswith("movement_libras") and path.suffix == ".data"


def read(path: Path, reading: Reading) -> RawClips:
    """Return the rows, separated by spaces or commas; the names of the classes come from the `.names` file beside it."""
    file = path / LOOKS_FOR if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{path}: no {LOOKS_FOR} in it")
    rows = [line.replace(",", " ").split() for line in read_text(file, reading.encoding).splitlines()]
    lines = [number for number, row in enumerate(rows, start=1) if row]
    rows = [row for row in rows if row]
    if not rows:
        raise UserError(f"{file}: is empty; download it again")

    def where(index: int) -> str:
        return f"{file}, line {lines[index]}"

    faults = Faults(file)
    values = np.full((len(rows), 2 * _FRAMES), np.nan, dtype=np.float32)
    for index, row in enumerate(rows):
        if len(row) != 2 * _FRAMES + 1:
            faults.add(
                f"{where(index)}: {len(row)} columns, not {2 * _FRAMES + 1} (45 points and the class); correct the row"
            )
            continue
        for place, cell in enumerate(row[:-1]):
            try:
                values[index, place] = to_float(cell)
            except ValueError:
                faults.add(f"{where(index)}: {cut(cell)} is not a number; correct it, or write ? for a missing one")
    faults.check()
    labels = [plain_label(row[-1]) for row in rows]
    names = _class_names(file.with_name("movement_libras.names"))
    if not set(labels) <= set(names):
        names = {}
    return RawClips(
        name="libras_movement",
        source_format=NAME,
        layout=points(1, 2),
        values=values.reshape(-1, 1, 2),
        offsets=np.arange(len(rows) + 1, dtype=np.int64) * _FRAMES,
        labels=[names.get(label, label) for label in labels],
        class_names=list(names.values()) or None,
        where=where,
    )


def _class_names(file: Path) -> dict[str, str]:
    """Return number -> name from lines such as `-- 1: curved swing`; empty without such a file."""
    if not file.is_file():
        return {}
    text = file.read_text(encoding="latin-1")
    return dict(re.findall(r"^\s*--\s*([0-9]+):\s*(.*?)\s*$", text, flags=re.MULTILINE))

"""Reads UCI Libras Movement, `movement_libras.data`: a clip per row, 45 frames of a hand's centre (x, y) and the class."""

from __future__ import annotations

import re
from pathlib import Path

from ....common.errors import UserError
from ...layouts.mediapipe import points
from ...specs import Reading
from ...text import plain_label, to_numbers
from ..raw import RawClips, raw_clips

NAME = "libras"
LOOKS_FOR = "movement_libras.data"

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
    rows = [line.replace(",", " ").split() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    lines = [number for number, row in enumerate(rows, start=1) if row]

    def where(index: int) -> str:
        return f"{file}, line {lines[index]}"

    rows = [row for row in rows if row]
    for index, row in enumerate(rows):
        if len(row) != 2 * _FRAMES + 1:
            raise UserError(f"{where(index)}: {len(row)} columns, not {2 * _FRAMES + 1} (45 points and the class)")
    if not rows:
        raise UserError(f"{file}: is empty")
    values = to_numbers([row[:-1] for row in rows], where).reshape(-1, _FRAMES, 1, 2)
    labels = [plain_label(row[-1]) for row in rows]
    names = _class_names(file.with_name("movement_libras.names"))
    if not set(labels) <= set(names):
        names = {}
    return raw_clips(
        name="libras_movement",
        source_format=NAME,
        layout=points(1, 2),
        clips=list(values),
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

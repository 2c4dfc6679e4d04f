"""Files with one ending below a folder, without what is not data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from ....common.errors import UserError
from ...text import entries

_MOST_FOLDERS = 100
"""Folders in which the first file is looked for."""


def files_by_folder(root: Path, *suffixes: str) -> dict[PurePath, list[str]]:
    """Return the names of the files with one of the endings, in natural order, by their folder relative to `root`.

    Raises `UserError` if `root` is a file.
    """
    if not root.is_dir():
        raise UserError(f"{root}: is one file; name the folder of all clips")
    return {
        folder: found
        for folder, names in _walk(root)
        if (found := [name for name in names if name.lower().endswith(suffixes)])
    }


def first_file(root: Path, *suffixes: str) -> Path | None:
    """Return a file with one of the endings in the first folders below `root`, or `None`."""
    for number, (folder, names) in enumerate(_walk(root)):
        if found := next((name for name in names if name.lower().endswith(suffixes)), None):
            return root / folder / found
        if number == _MOST_FOLDERS:
            break
    return None


def _walk(
    folder: Path, below: PurePath | None = None, above: frozenset[str] = frozenset()
) -> Iterator[tuple[PurePath, list[str]]]:
    """Yield each folder, relative to the first one, and the names of its files; links are followed, but not in circles."""
    below, real = below or PurePath(), os.path.realpath(folder)
    if real in above:
        return
    folders, files = entries(folder)
    yield below, files
    for name in folders:
        yield from _walk(folder / name, below / name, above | {real})

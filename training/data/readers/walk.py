"""What lies below a folder, by the names of its files, without what is not data."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from ...common.errors import UserError
from ..text import entries, is_stray

_MOST_FOLDERS, _MOST_NAMES = 100, 5000
"""Folders, and names in each, that are looked at before data are recognised."""
_MOST_COUNTED = 50_000


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
    """Return a file with one of the endings among the first ones below a folder, or `None`."""
    return next((file for file in first_files(root) if file.name.lower().endswith(suffixes)), None)


def first_files(root: Path) -> Iterator[Path]:
    """Yield the first files below a folder, folder by folder, in no order, without strays."""
    waiting = [root]
    for looked_at, folder in enumerate(waiting):
        if looked_at == _MOST_FOLDERS:
            return
        try:
            with os.scandir(folder) as found:
                for number, entry in enumerate(found):
                    if number == _MOST_NAMES:
                        break
                    if is_stray(entry.name):
                        continue
                    if not entry.is_dir():
                        yield folder / entry.name
                    elif len(waiting) <= _MOST_FOLDERS:
                        waiting.append(folder / entry.name)
        except PermissionError:
            continue


@dataclass(kw_only=True)
class Contents:
    """What lies below a folder."""

    counts: Counter[str] = field(default_factory=Counter)
    """Files by their ending, which is empty for those without one."""
    files: list[Path] = field(default_factory=list)
    is_all: bool = True
    """False if there is more than was counted."""


def contents_of(root: Path) -> Contents:
    """Return the files below a folder in natural order; at most some 50,000 of them are counted."""
    found = Contents()
    for folder, names in _walk(root):
        found.files += [root / folder / name for name in names]
        found.counts.update(os.path.splitext(name)[1].lower() for name in names)
        if len(found.files) > _MOST_COUNTED:
            found.is_all = False
            break
    return found


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

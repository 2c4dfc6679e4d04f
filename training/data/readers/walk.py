"""What lies below a folder, by the names of its files, without what is not data."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from ...common.errors import UserError
from ..text import is_folder, is_regular, is_stray, listing_of, once_a_read

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
    return next(first_files(root, *suffixes), None)


def first_files(root: Path, *suffixes: str) -> Iterator[Path]:
    """Yield files with one of the endings among the first ones below a folder, folder by folder, in no order."""
    return (folder / name for folder, names in _first_names(root) for name in names if name.lower().endswith(suffixes))


@once_a_read
def _first_names(root: Path) -> list[tuple[Path, list[str]]]:
    """Return the names of the first files of the first folders below a folder, without strays."""
    waiting, files = [root], []
    for folder in waiting:
        names: list[str] = []
        with suppress(PermissionError), os.scandir(folder) as found:
            for entry in itertools.islice(found, _MOST_NAMES):
                if is_stray(entry.name):
                    continue
                if not is_folder(entry):
                    is_regular(entry)
                    names.append(entry.name)
                elif len(waiting) < _MOST_FOLDERS:
                    waiting.append(folder / entry.name)
        files.append((folder, names))
    return files


@dataclass(kw_only=True)
class Contents:
    """What lies below a folder."""

    root: Path
    names: dict[str, list[str]] = field(default_factory=dict)
    """The files by their ending in small letters, which is empty for those without one, relative to `root`."""
    is_all: bool = True
    """False if there is more than was counted."""

    def files(self, *suffixes: str) -> list[Path]:
        """Return the files with one of the endings, ending by ending."""
        return [self.root / name for suffix in suffixes for name in self.names.get(suffix, ())]


def contents_of(root: Path) -> Contents:
    """Return the files below a folder in natural order; at most some 50,000 of them are counted."""
    found, count = Contents(root=root), 0
    for folder, names in _walk(root):
        for name in names:
            found.names.setdefault(os.path.splitext(name)[1].lower(), []).append(os.path.join(folder, name))
        count += len(names)
        if count > _MOST_COUNTED:
            found.is_all = False
            break
    return found


def _walk(
    folder: Path, below: PurePath | None = None, walked: set[str] | None = None
) -> Iterator[tuple[PurePath, Sequence[str]]]:
    """Yield each folder, relative to the first one, and the names of its files.

    Links are followed, but no folder is walked twice: of several links to one the first counts, and none to a folder that
    lies below the first one itself.
    """
    below = below or PurePath()
    walked = {os.path.realpath(folder)} if walked is None else walked
    found = listing_of(folder)
    yield below, found.files
    for name in found.folders:
        place = folder / name
        real = os.path.realpath(place)
        root = folder.parents[len(below.parts) - 1] if below.parts else folder
        is_seen = real in walked or (place.is_symlink() and Path(real).is_relative_to(os.path.realpath(root)))
        if not is_seen:
            walked.add(real)
            yield from _walk(place, below / name, walked)

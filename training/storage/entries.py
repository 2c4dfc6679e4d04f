"""Entries of a cache: folders that are complete or absent, locked while they are used, verified when opened."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..common.small_files import read_json
from .files import Written, flush_folder, sha256_of, write_durably

ENTRY_SCHEMA_VERSION = 1
MANIFEST = "manifest.json"

PARTIAL, REMOVED = ".partial-", ".removed-"
"""How the names begin of what is being written, and of what could not be removed at once."""

LEFTOVER_SECONDS = 24 * 3600.0
"""How old a part must be, where there are no locks, to count as left by a process that was killed."""


class Hold:
    """A shared lock on a file, held as long as the data that it is given to, or else to the end of its block."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.is_given = False

    def __call__(self, data: object) -> None:
        """Hold the lock as long as `data` is there."""
        weakref.finalize(data, os.close, self._handle)
        self.is_given = True


@contextmanager
def held(path: Path) -> Iterator[Hold]:
    """Lock a file, for `is_in_use`; on a file system without locks, do nothing. Raises `OSError`."""
    import fcntl

    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    hold = Hold(handle)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)  # waits only for `is_in_use`, which takes a moment
        yield hold
    finally:
        if not hold.is_given:
            os.close(handle)


def is_in_use(folder: Path) -> bool | None:
    """Return whether a run on any host has an entry mapped or writes it; `None` if that cannot be known.

    Without its files a run that has it mapped on another host would crash.
    """
    import fcntl

    try:
        with open(folder / MANIFEST, "rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def seal(folder: Path, **facts: Any) -> None:
    """Write the manifest of an entry, with facts beside its files, and wait until all is on the disk. Raises `OSError`."""
    files = {}
    for path in sorted(path for path in folder.iterdir() if path.name != MANIFEST):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[path.name] = Written(path.stat().st_size, sha256_of(path))._asdict()
    manifest = {"schema_version": ENTRY_SCHEMA_VERSION, "files": files, **facts}
    write_durably(folder / MANIFEST, [json.dumps(manifest).encode()])
    flush_folder(folder)


def verify(folder: Path) -> None:
    """Compare each file with the manifest. Raises `ValueError` that names the first that differs, and `OSError`."""
    try:
        manifest = read_json(folder / MANIFEST)
        is_of_this_version = manifest["schema_version"] == ENTRY_SCHEMA_VERSION
        listed = manifest["files"].items() if is_of_this_version else ()
        files = {name: Written(entry["num_bytes"], entry["sha256"]) for name, entry in listed}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{MANIFEST} is not a manifest") from None
    if not is_of_this_version:
        raise ValueError(f"{MANIFEST} is of another version")
    if {*files, MANIFEST} != set(os.listdir(folder)):
        raise ValueError(f"{MANIFEST} names other files")
    for name, written in files.items():
        if (folder / name).stat().st_size != written.num_bytes or sha256_of(folder / name) != written.sha256:
            raise ValueError(f"{name} is not what was written")


@contextmanager
def new_entry(folder: Path) -> Iterator[tuple[Path, Hold]]:
    """Yield a new folder inside `folder` and its lock; what has not been given its name at the end is removed."""
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder))
    try:
        new = partial / "new"
        new.touch()
        with held(new) as hold:
            # Locked before it has its name: an unlocked one was left by a killed process.
            new.rename(partial / MANIFEST)
            yield partial, hold
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def take_name(partial: Path, folder: Path) -> bool:
    """Give an entry its name; return whether it was free. Raises `OSError`."""
    try:
        partial.rename(folder)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    return True


def leftovers(folder: Path) -> list[Path]:
    """Return what is being written, was left by a process that was killed, or could not be removed."""
    return [*folder.glob(f"{PARTIAL}*"), *folder.glob(f"{REMOVED}*")]


def clean(folder: Path) -> None:
    """Remove what killed processes have left."""
    for path in leftovers(folder):
        used = False if path.name.startswith(REMOVED) else is_in_use(path)
        if used is False or (used is None and is_old(path)):
            remove(path)


def remove(path: Path) -> int:
    """Remove an entry or a part of one; return how many of its bytes are still there."""
    aside = path.with_name(f"{REMOVED}{uuid.uuid4().hex}")
    with suppress(OSError):
        # Renamed first, so that nobody finds half an entry.
        path.rename(aside)
        discard(aside)
    return size_of(aside) + size_of(path)


def size_of(path: Path) -> int:
    """Return the bytes of a folder's files, or of a file; 0 if there is nothing."""
    with suppress(OSError):
        if not path.is_dir():
            return path.lstat().st_size
        with os.scandir(path) as files:
            return sum(file.stat(follow_symlinks=False).st_size for file in files)
    return 0


def discard(path: Path) -> None:
    """Remove a file, a link or a folder with all its content, if possible."""
    with suppress(OSError):
        path.unlink() if path.is_symlink() or not path.is_dir() else shutil.rmtree(path, ignore_errors=True)


def is_old(path: Path) -> bool:
    """Return whether a path is so old that no process can be writing it; so is one that is gone meanwhile."""
    return time.time() - time_of(path) > LEFTOVER_SECONDS


def time_of(path: Path) -> float:
    """Return when a path was last written or, of a manifest, used; 0 if there is nothing."""
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0

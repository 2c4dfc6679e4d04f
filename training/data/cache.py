"""Prepared data sets in the user's cache: entries that are whole or not there, verified when opened, bounded in size."""

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
from dataclasses import dataclass
from pathlib import Path

from training.data.content import FileDigests, NotCacheable
from training.data.prepared import PreparedData
from training.durable import Written, flush_folder, sha256_of, told, write_durably
from training.errors import UserError
from training.size_cache import user_cache_folder

ENTRY_SCHEMA_VERSION = 1
MANIFEST = "manifest.json"

_MOST_BYTES = 16 << 30
_MOST_OF_FREE = 0.1
"""The cache takes no more than this share of what is free on its disk."""
_MOST_INDEXES = 100
_LEFTOVER_SECONDS = 24 * 3600.0
_DIGESTS, _PARTIAL, _REMOVED = "digests", ".partial-", ".removed-"


class DamagedEntry(Exception):  # noqa: N818 - it says what is wrong with a thing, not with the program
    """An entry that is not what was written; the message says which file. It has been removed, where that was possible."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A data set of the cache, mapped, and the folder it is in; not removed to make room while `data.store` lives."""

    folder: Path
    data: PreparedData


class DataCache:
    """A folder of prepared data sets by key, each a folder of its own. Several processes and hosts may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of_user(cls) -> DataCache:
        """Return the cache in the user's cache folder."""
        return cls(user_cache_folder() / "data")

    def digests_of(self, source: Path) -> FileDigests:
        """Return what is remembered of the files of a source."""
        with suppress(OSError):
            self._make_folder()
        return FileDigests(self._folder / _DIGESTS, source)

    def open(self, key: str) -> Entry | None:
        """Return an entry whose every byte is what was written, or nothing. Raises `DamagedEntry`."""
        folder = self._folder / key
        try:
            with _held(folder / MANIFEST) as hold:
                _verify(folder)
                data = PreparedData.open_shared(folder)
                hold(data)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, UserError) as error:
            if not folder.exists():
                return None  # never was there, or went to make room for another
            self._remove(folder)
            what = told(error) if isinstance(error, OSError) else str(error)
            raise DamagedEntry(f"{folder}: {what}") from None
        with suppress(OSError):
            os.utime(folder / MANIFEST)  # when it was used last
        return Entry(folder=folder, data=data)

    def save(self, key: str, data: PreparedData) -> Entry:
        """Write an entry and return it. Raises `NotCacheable` that says why there is none: no room, no right to write."""
        folder = self._folder / key
        try:
            self._make_folder()
            self._clean()
            self._make_room(_num_bytes(data))
            partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self._folder))
            try:
                _write(partial, data)
                with _held(partial / MANIFEST) as hold:
                    if not _rename(partial, folder):
                        return self._of_another(key)
                    saved = PreparedData.open_shared(folder)
                    hold(saved)
                flush_folder(self._folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            # What numpy raises where a disk fills up has no number, and tells only of items.
            what = told(error) if error.errno else f"a file could be written only in part ({self._folder})"
            raise NotCacheable(what) from None
        return Entry(folder=folder, data=saved)

    def _of_another(self, key: str) -> Entry:
        """Return the entry that another process has written meanwhile."""
        try:
            entry = self.open(key)
        except DamagedEntry as error:
            raise NotCacheable(str(error)) from None
        if entry is None:
            raise NotCacheable(f"{self._folder / key} came and went")
        return entry

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._folder / _DIGESTS).mkdir(mode=0o700, exist_ok=True)

    def _make_room(self, num_bytes: int) -> None:
        """Remove entries, the longest unused first, until one of this size fits. Raises `NotCacheable`."""
        most = min(_MOST_BYTES, int(shutil.disk_usage(self._folder).free * _MOST_OF_FREE))
        if num_bytes > most:
            raise NotCacheable(f"it has {_mebibytes(num_bytes)}, and the cache may hold {_mebibytes(most)}")
        entries = sorted((_last_use(entry), _size(entry), entry) for entry in self._entries())
        used = sum(size for _, size, _ in entries)
        for _, size, entry in entries:
            if used + num_bytes <= most:
                return
            if not _is_in_use(entry):
                self._remove(entry)
                used -= size
        if used + num_bytes > most:
            raise NotCacheable("the cache is full of data sets that other runs use")

    def _entries(self) -> list[Path]:
        with os.scandir(self._folder) as found:
            return [Path(one.path) for one in found if one.name != _DIGESTS and not one.name.startswith(".")]

    def _clean(self) -> None:
        """Remove what a process that was killed has left, and the indexes of sources that were not read for long."""
        for pattern in (_PARTIAL, _REMOVED, f"{_DIGESTS}/{_PARTIAL}"):
            for path in self._folder.glob(f"{pattern}*"):
                with suppress(OSError):
                    if time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
                        path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
        indexes = sorted((self._folder / _DIGESTS).glob("*.json"), key=_time_of)
        for index in indexes[:-_MOST_INDEXES]:
            index.unlink(missing_ok=True)

    def _remove(self, folder: Path) -> None:
        # Renamed first: nobody finds half an entry.
        aside = folder.with_name(f"{_REMOVED}{uuid.uuid4().hex}")
        with suppress(OSError):
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


class _Hold:
    """A shared lock on a file, which lives as long as the data it is given to, or else as its block."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.is_given = False

    def __call__(self, data: PreparedData) -> None:
        weakref.finalize(data.store, os.close, self._handle)
        self.is_given = True


@contextmanager
def _held(path: Path) -> Iterator[_Hold]:
    """Hold a file against `_is_in_use`; where the file system has no locks, nothing is held. Raises `OSError`."""
    import fcntl

    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    hold = _Hold(handle)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield hold
    finally:
        if not hold.is_given:
            os.close(handle)


def _is_in_use(folder: Path) -> bool:
    """Return whether a run on any host has an entry mapped: without its files, one on another host would die."""
    import fcntl

    with suppress(OSError), open(folder / MANIFEST, "rb+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _write(folder: Path, data: PreparedData) -> None:
    """Write a data set and its manifest, and wait until they are on the disk."""
    data.save(folder)
    files = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[path.name] = Written(path.stat().st_size, sha256_of(path))._asdict()
    manifest = {"schema_version": ENTRY_SCHEMA_VERSION, "files": files}
    write_durably(folder / MANIFEST, [json.dumps(manifest).encode()])
    flush_folder(folder)


def _verify(folder: Path) -> None:
    """Compare each file with the manifest. Raises `ValueError` that names the first that differs, `OSError`, `KeyError`."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if manifest["schema_version"] != ENTRY_SCHEMA_VERSION:
        raise ValueError(f"{MANIFEST} is of another version")
    files = {name: Written(entry["num_bytes"], entry["sha256"]) for name, entry in manifest["files"].items()}
    if {*files, MANIFEST} != set(os.listdir(folder)):
        raise ValueError(f"{MANIFEST} names other files")
    for name, written in files.items():
        if (folder / name).stat().st_size != written.num_bytes or sha256_of(folder / name) != written.sha256:
            raise ValueError(f"{name} is not what was written")


def _rename(partial: Path, folder: Path) -> bool:
    """Give an entry its name; return whether it was free. Raises `OSError`."""
    try:
        partial.rename(folder)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    return True


def _num_bytes(data: PreparedData) -> int:
    tensors = (data.store.values, data.store.offsets, data.store.labels, *data.indices.values())
    return sum(tensor.nbytes for tensor in tensors)


def _size(folder: Path) -> int:
    with suppress(OSError), os.scandir(folder) as files:
        return sum(file.stat().st_size for file in files)
    return 0


def _last_use(folder: Path) -> float:
    return _time_of(folder / MANIFEST)


def _time_of(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _mebibytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.0f} MiB"

"""The cache of prepared data sets: entries are complete or absent, verified when opened, bounded in size."""

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

from ...common.errors import UserError
from ...storage.files import Written, describe_os_error, flush_folder, sha256_of, user_cache_folder, write_durably
from .content import FileDigests, NotCacheable
from .prepared import PreparedData

ENTRY_SCHEMA_VERSION = 1
MANIFEST = "manifest.json"

_MOST_BYTES = 16 << 30
_MOST_OF_FREE = 0.1
"""The largest share of the free space on its disk that the cache takes."""
_MOST_INDEXES = 100
_LEFTOVER_SECONDS = 24 * 3600.0
_DIGESTS, _PARTIAL, _REMOVED = "digests", ".partial-", ".removed-"

_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_DAMAGE = (*_MISSING, ValueError, TypeError, KeyError, AttributeError, RecursionError, UserError)
"""What a damaged entry raises. Any other `OSError` comes from the disk, the network or this process."""


class DamagedEntry(Exception):  # noqa: N818 - the fault is in an entry, not in the program
    """An entry that is not what was written; the message names the file.

    It has been removed if possible, but not while a run uses it.
    """


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A data set of the cache, mapped, and its folder, which is not removed to make room while `data.store` exists."""

    folder: Path
    data: PreparedData


class DataCache:
    """A folder of prepared data sets, each in a folder named by its key. Several processes and hosts may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of_user(cls) -> DataCache:
        """Return the cache in the user's cache folder."""
        return cls(user_cache_folder() / "data")

    def digests_of(self, source: Path) -> FileDigests:
        """Return the stored digests of the files of a source."""
        with suppress(OSError):
            self._make_folder()
        return FileDigests(self._folder / _DIGESTS, source)

    def open(self, key: str) -> Entry | None:
        """Return an entry, all of whose bytes are verified, or `None`.

        Raises `DamagedEntry`, and `OSError` if it cannot be read at present.
        """
        folder = self._folder / key
        try:
            with _held(folder / MANIFEST) as hold:
                _verify(folder)
                data = PreparedData.open_shared(folder)
                hold(data)
        except _DAMAGE as error:
            if not os.path.lexists(folder):
                return None  # it never existed, or was removed to make room
            what = describe_os_error(error) if isinstance(error, OSError) else str(error)
            if _is_in_use(folder):
                raise DamagedEntry(f"{folder}: {what}; it stays while a run uses it") from None
            self._remove(folder)
            raise DamagedEntry(f"{folder}: {what}") from None
        except OSError as error:
            error.filename = error.filename or str(folder)  # a read that fails does not name its file
            raise
        with suppress(OSError):
            os.utime(folder / MANIFEST)  # the time of the last use
        return Entry(folder=folder, data=data)

    def save(self, key: str, data: PreparedData) -> Entry:
        """Write an entry and return it. Raises `NotCacheable` that says why not: no room, no right to write."""
        folder = self._folder / key
        try:
            self._make_folder()
            self._clean()
            if os.path.lexists(folder):
                return self._open_existing(key)
            self._make_room(_num_bytes(data))
            partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self._folder))
            try:
                new = partial / "new"
                new.touch()
                with _held(new) as hold:
                    # Locked before it has its name: an unlocked one was left by a killed process.
                    new.rename(partial / MANIFEST)
                    _write(partial, data)
                    if not _rename(partial, folder):
                        return self._open_existing(key)
                    saved = PreparedData.open_shared(folder)
                    hold(saved)
                flush_folder(self._folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            # On a full disk numpy raises an error without a number, which only counts items.
            what = describe_os_error(error) if error.errno else f"a file could be written only in part ({self._folder})"
            raise NotCacheable(what) from None
        return Entry(folder=folder, data=saved)

    def _open_existing(self, key: str) -> Entry:
        """Return the entry that another process has written meanwhile."""
        try:
            entry = self.open(key)
        except DamagedEntry as error:
            raise NotCacheable(str(error)) from None
        if entry is None:
            raise NotCacheable(f"{self._folder / key} was written and removed meanwhile")
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
        used = sum(size for _, size, _ in entries) + sum(_size(path) for path in self._leftovers())
        missing = used + num_bytes - most
        if missing <= 0:
            return
        unused = [(size, entry) for _, size, entry in entries if not _is_in_use(entry)]
        if sum(size for size, _ in unused) < missing:
            raise NotCacheable("the cache is full of data sets that other runs use or write")
        for size, entry in unused:
            missing -= size - self._remove(entry)
            if missing <= 0:
                return
        raise NotCacheable(f"unused data sets in {self._folder} could not be removed")

    def _entries(self) -> list[Path]:
        with os.scandir(self._folder) as found:
            return [Path(one.path) for one in found if one.name != _DIGESTS and not one.name.startswith(".")]

    def _leftovers(self) -> list[Path]:
        """Return what is being written, was left by a process that was killed, or could not be removed."""
        return [*self._folder.glob(f"{_PARTIAL}*"), *self._folder.glob(f"{_REMOVED}*")]

    def _clean(self) -> None:
        """Remove what killed processes have left, and the indexes of sources that were not read for the longest time."""
        for path in self._leftovers():
            is_in_use = False if path.name.startswith(_REMOVED) else _is_in_use(path)
            if is_in_use is False or (is_in_use is None and _is_old(path)):
                self._remove(path)
        for path in self._folder.glob(f"{_DIGESTS}/{_PARTIAL}*"):
            if _is_old(path):
                discard(path)
        indexes = sorted((self._folder / _DIGESTS).glob("*.json"), key=_time_of)
        for index in indexes[:-_MOST_INDEXES]:
            index.unlink(missing_ok=True)

    def _remove(self, path: Path) -> int:
        """Remove an entry or a part of one; return how many of its bytes are still there."""
        aside = path.with_name(f"{_REMOVED}{uuid.uuid4().hex}")
        with suppress(OSError):
            # Renamed first, so that nobody finds half an entry.
            path.rename(aside)
            discard(aside)
        return _size(aside) + _size(path)


class _Hold:
    """A shared lock on a file, held as long as the data that it is given to, or else to the end of its block."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.is_given = False

    def __call__(self, data: PreparedData) -> None:
        weakref.finalize(data.store, os.close, self._handle)
        self.is_given = True


@contextmanager
def _held(path: Path) -> Iterator[_Hold]:
    """Lock a file, for `_is_in_use`; on a file system without locks, do nothing. Raises `OSError`."""
    import fcntl

    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    hold = _Hold(handle)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)  # waits only for `_is_in_use`, which takes a moment
        yield hold
    finally:
        if not hold.is_given:
            os.close(handle)


def _is_in_use(folder: Path) -> bool | None:
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


def _write(folder: Path, data: PreparedData) -> None:
    """Write a data set and its manifest, and wait until both are on the disk."""
    data.save(folder)
    files = {}
    for path in sorted(path for path in folder.iterdir() if path.name != MANIFEST):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[path.name] = Written(path.stat().st_size, sha256_of(path))._asdict()
    manifest = {"schema_version": ENTRY_SCHEMA_VERSION, "files": files}
    write_durably(folder / MANIFEST, [json.dumps(manifest).encode()])
    flush_folder(folder)


def _verify(folder: Path) -> None:
    """Compare each file with the manifest. Raises `ValueError` that names the first that differs, and `OSError`."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        is_of_this_version = manifest["schema_version"] == ENTRY_SCHEMA_VERSION
        listed = manifest["files"].items() if is_of_this_version else ()
        files = {name: Written(entry["num_bytes"], entry["sha256"]) for name, entry in listed}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{MANIFEST} is not a manifest") from None
    if not is_of_this_version:
        raise ValueError(f"{MANIFEST} is of another version")
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


def _size(path: Path) -> int:
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


def _is_old(path: Path) -> bool:
    # A path that is gone meanwhile counts as old.
    return time.time() - _time_of(path) > _LEFTOVER_SECONDS


def _last_use(folder: Path) -> float:
    return _time_of(folder / MANIFEST)


def _time_of(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _mebibytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.0f} MiB"

"""The cache of prepared data sets: entries are complete or absent, verified when opened, bounded in size."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...common.errors import UserError
from ...storage.entries import (
    MANIFEST,
    PARTIAL,
    clean,
    discard,
    held,
    is_in_use,
    is_old,
    leftovers,
    new_entry,
    remove,
    seal,
    size_of,
    take_name,
    time_of,
    verify,
)
from ...storage.files import describe_os_error, flush_folder, user_cache_folder
from .content import FileDigests, NotCacheable
from .prepared import PreparedData

_MOST_BYTES = 16 << 30
_MOST_OF_FREE = 0.1
"""The largest share of the free space on its disk that the cache takes."""
_MOST_INDEXES = 100
_DIGESTS = "digests"

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
            with held(folder / MANIFEST) as hold:
                verify(folder)
                data = PreparedData.open_shared(folder)
                hold(data.store)
        except _DAMAGE as error:
            if not os.path.lexists(folder):
                return None  # it never existed, or was removed to make room
            what = describe_os_error(error) if isinstance(error, OSError) else str(error)
            if is_in_use(folder):
                raise DamagedEntry(f"{folder}: {what}; it stays while a run uses it") from None
            remove(folder)
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
            with new_entry(self._folder) as (partial, hold):
                _write(partial, data)
                if not take_name(partial, folder):
                    return self._open_existing(key)
                saved = PreparedData.open_shared(folder)
                hold(saved.store)
            flush_folder(self._folder)
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
        entries = sorted((_last_use(entry), size_of(entry), entry) for entry in self._entries())
        used = sum(size for _, size, _ in entries) + sum(size_of(path) for path in leftovers(self._folder))
        missing = used + num_bytes - most
        if missing <= 0:
            return
        unused = [(size, entry) for _, size, entry in entries if not is_in_use(entry)]
        if sum(size for size, _ in unused) < missing:
            raise NotCacheable("the cache is full of data sets that other runs use or write")
        for size, entry in unused:
            missing -= size - remove(entry)
            if missing <= 0:
                return
        raise NotCacheable(f"unused data sets in {self._folder} could not be removed")

    def _entries(self) -> list[Path]:
        with os.scandir(self._folder) as found:
            return [Path(one.path) for one in found if one.name != _DIGESTS and not one.name.startswith(".")]

    def _clean(self) -> None:
        """Remove what killed processes have left, and the indexes of sources that were not read for the longest time."""
        clean(self._folder)
        for path in self._folder.glob(f"{_DIGESTS}/{PARTIAL}*"):
            if is_old(path):
                discard(path)
        indexes = sorted((self._folder / _DIGESTS).glob("*.json"), key=time_of)
        for index in indexes[:-_MOST_INDEXES]:
            index.unlink(missing_ok=True)


def _write(folder: Path, data: PreparedData) -> None:
    """Write a data set and its manifest, and wait until both are on the disk."""
    data.save(folder)
    seal(folder)


def _num_bytes(data: PreparedData) -> int:
    tensors = (data.store.values, data.store.offsets, data.store.labels, *data.indices.values())
    return sum(tensor.nbytes for tensor in tensors)


def _last_use(folder: Path) -> float:
    return time_of(folder / MANIFEST)


def _mebibytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.0f} MiB"

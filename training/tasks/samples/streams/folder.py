"""The folder of written streams in the user's cache: contents by their hash, and the names under which they were written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ....common.errors import UserError
from ....storage.entries import (
    MANIFEST,
    Hold,
    clean,
    held,
    is_in_use,
    new_entry,
    remove,
    size_of,
    take_name,
    time_of,
    verify,
)
from ....storage.files import flush_folder, replaced, user_cache_folder, write_durably
from .store import StoredStream

_CONTENTS, _NAMES = "contents", "names"

_LEAST_FREE_BYTES = 1 << 30
_LEAST_FREE_SHARE = 0.05
"""What stays free on the disk: the smaller of the two."""


class Named(NamedTuple):
    """What was written under a name."""

    content: str
    key: str | None


class StreamFolder:
    """Contents are complete or absent, verified when they are found, and removed only while no run uses them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.contents, self._names = folder / _CONTENTS, folder / _NAMES

    @classmethod
    def of_user(cls) -> StreamFolder:
        """Return the one in the user's cache folder."""
        return cls(user_cache_folder() / "streams")

    def make(self) -> None:
        """Make the folders and remove what killed processes have left. Raises `OSError`."""
        for folder in (self.contents, self._names):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        clean(self.contents)

    @contextmanager
    def locked(self, name: str) -> Iterator[bool]:
        """Hold the lock of a name, if no other process does; yield whether this one may write."""
        import fcntl

        handle = os.open(self._names / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            is_ours = True
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                is_ours = False
            except OSError:
                pass  # a file system without locks: both write, which harms neither
            yield is_ours
        finally:
            os.close(handle)

    def named(self, name: str) -> Named | None:
        """Return what was last written under a name."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads((self._names / f"{name}.json").read_text(encoding="utf-8"))
            return Named(str(found["content"]), found["key"])
        return None

    def find(self, content: str) -> StoredStream | None:
        """Return a content whose bytes are all as they were written; a damaged one is removed. None: it is not there."""
        folder = self.contents / content
        try:
            with held(folder / MANIFEST) as hold:
                verify(folder)
                stored = StoredStream(folder, hold=hold)
        except (OSError, ValueError, KeyError, TypeError, UserError):
            if folder.exists() and not is_in_use(folder):
                remove(folder)
            return None
        with suppress(OSError):
            os.utime(folder / MANIFEST)  # the time of the last use
        return stored

    def open(self, content: str, classes: Mapping[str, type]) -> StoredStream:
        """Return a content that another process of this host has just found or written. Raises `OSError`, `UserError`."""
        return StoredStream(self.contents / content, classes)

    @contextmanager
    def new(self) -> Iterator[tuple[Path, Hold]]:
        """Yield a folder to write into and its lock; it is removed unless it was kept."""
        with new_entry(self.contents) as (partial, hold):
            yield partial, hold

    def keep(self, partial: Path, hold: Hold, content: str, classes: Mapping[str, type]) -> StoredStream:
        """Return what was written, which has its name from now on; or the same content if it is there already."""
        folder = self.contents / content
        while not take_name(partial, folder):
            if (found := self.find(content)) is not None:
                return found
            if folder.exists():
                raise UserError(f"{folder}: it is damaged, and another run uses it; wait for that run, or stop it")
        flush_folder(self.contents)
        return StoredStream(folder, classes, hold)

    def name(self, name: str, named: Named) -> None:
        """Remember what was written under a name; what was there before goes, unless another name or a run has it."""
        before = self.named(name)
        with replaced(self._names / f"{name}.json") as path:
            write_durably(path, [json.dumps(named._asdict()).encode()])
        if before is not None and before.content != named.content:
            others = {self.named(path.stem) for path in self._names.glob("*.json")}
            folder = self.contents / before.content
            if before.content not in {one.content for one in others if one} and is_in_use(folder) is False:
                remove(folder)

    def free_bytes(self, needed: int) -> int:
        """Return the bytes that may be written, once contents that no run uses have made room for `needed`."""
        if (free := self._free()) < needed:
            for folder in sorted(self.contents.glob("[!.]*"), key=lambda one: time_of(one / MANIFEST)):
                if is_in_use(folder) is False and size_of(folder):
                    remove(folder)
                    if (free := self._free()) >= needed:
                        break
        return free

    def _free(self) -> int:
        disk = shutil.disk_usage(self.contents)
        return disk.free - min(_LEAST_FREE_BYTES, int(disk.total * _LEAST_FREE_SHARE))

"""Disks that are small, full or read-only for a test, and file operations that fail or kill at a chosen one."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


def _mount(*arguments: str) -> None:
    if shutil.which("mount") is None or subprocess.run(["mount", *arguments], capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")


@contextmanager
def small_disk(folder: Path, num_bytes: int) -> Iterator[Path]:
    """Make a folder a disk of its own, of that size; the test is skipped where that is not permitted."""
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """Make a folder read-only, for root too."""
    _mount("--bind", str(folder), str(folder))
    try:
        _mount("-o", "remount,bind,ro", str(folder))
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, leave_bytes: int) -> Path:
    """Fill a small disk with one file, except for about `leave_bytes`; return the file."""
    ballast = disk / "ballast"
    free = shutil.disk_usage(disk).free
    ballast.write_bytes(bytes(max(0, free - leave_bytes)))
    return ballast


class Operations:
    """Every operation that changes a disk, counted and listed; before the one of a chosen number, something happens.

    A chosen write is half done when it happens, as with a process that is killed or a disk that fills up.
    """

    def __init__(self, chosen: int | None, happen: Callable[[], None]) -> None:
        self.chosen = chosen
        self.happen = happen
        self.done: list[tuple[str, str]] = []
        """(operation, path), in order."""

    def __enter__(self) -> Operations:
        self._patch = pytest.MonkeyPatch()
        for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync"):
            self._patch.setattr(os, name, self._watched(name, getattr(os, name)))
        self._patch.setattr(io, "open", self._open)
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()

    def is_chosen(self, operation: str, path: str) -> bool:
        """Count an operation; return whether it is the chosen one."""
        self.done.append((operation, path))
        return len(self.done) - 1 == self.chosen

    def _watched(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            told = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.fspath(path)
            if self.is_chosen(name, told):
                self.happen()
            return original(path, *arguments, **options)

        return call

    def _open(self, path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if "r" in mode:
            return _open(path, mode, *arguments, **options)
        if self.is_chosen("open", os.fspath(path)):
            self.happen()
        return _Watched(_open(path, mode, *arguments, **options), os.fspath(path), self)


_open = io.open


class _Watched:
    """A file whose writes are operations."""

    def __init__(self, file: Any, path: str, operations: Operations) -> None:
        self._file, self._path, self._operations = file, path, operations

    def write(self, content: Any) -> int:
        if self._operations.is_chosen("write", self._path):
            self._file.write(content[: len(content) // 2])
            self._file.flush()
            self._operations.happen()
        return self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

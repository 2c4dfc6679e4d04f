"""The lock of a run's folder: one process at a time writes there."""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from ..common.errors import TrainingFailed, UserError
from ..common.program.private import open_file

LOCK = "lock"

_LEAST_WAIT_SECONDS = 0.3
"""A process that only asks whether a run is locked holds the lock for a moment."""

_POLL_SECONDS = 0.05


class RunLock:
    """The lock of a run's folder while this process holds it."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path, self._handle = path, handle
        self._folder = path.parent.stat()

    def renew(self) -> bool:
        """Hold the lock of what is in the folder's place now; return whether it had to be taken again.

        Raises `TrainingFailed` if another process trains the run meanwhile, or the folder is another run's.
        """
        if _is_still(self._handle, self._path):
            return False
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            is_same = os.path.samestat(folder.stat(), self._folder)
            handle = open_file(self._path, os.O_RDWR)
        except OSError:
            return False  # what is to be written there says so
        try:
            if not _take(handle):
                raise TrainingFailed(
                    f"{folder}: its lock was removed while this process trained the run, and "
                    f"{_holder(handle) or 'another process'} trains it now: this one stops"
                )
            if not is_same and (folder / "run.json").exists():
                raise TrainingFailed(
                    f"{folder}: another run was put in its place: this one stops, and writes nothing there"
                )
            os.dup2(handle, self._handle, inheritable=False)
            self._folder = folder.stat()
            _name_holder(self._handle, _own_name())
        finally:
            os.close(handle)
        return True


def _own_name() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}\n"


@contextmanager
def lock_run(folder: Path, wait_seconds: float) -> Iterator[RunLock]:
    """Hold the lock of a run's folder. Raises `UserError` that names the process which holds it.

    The kernel releases the lock when its process ends, so no lock is ever stale; a process that was just killed may take up
    to `wait_seconds` to end. On a file system without locks the process named in the file counts as the holder, as long as
    it runs on this host.
    """
    path = folder / LOCK
    deadline = time.monotonic() + max(wait_seconds, _LEAST_WAIT_SECONDS)
    while True:
        try:
            handle = open_file(path, os.O_RDWR)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UserError(f"{path}: is a link, which a lock never is; remove it") from None
            raise UserError(f"{path}: {error.strerror}; choose a folder that can be written") from None
        try:
            if _take(handle) and _is_still(handle, path):
                _name_holder(handle, _own_name())
                try:
                    yield RunLock(path, handle)
                finally:
                    _name_holder(handle, "")
                return
            if time.monotonic() >= deadline:
                holder = _holder(handle) or "another process"
                raise UserError(f"{folder}: {holder} is training this run; wait for it, or stop it")
        finally:
            os.close(handle)
        time.sleep(_POLL_SECONDS)


def _take(handle: int) -> bool:
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        return not _is_running(_holder(handle))


def _is_still(handle: int, path: Path) -> bool:
    """Return whether an opened file is the one at its path: the run's folder may have been replaced meanwhile."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _name_holder(handle: int, text: str) -> None:
    # On a full disk the name is missing; the lock is held nevertheless.
    with suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode(), 0)


def _holder(handle: int) -> str:
    try:
        return os.pread(handle, 200, 0).decode(errors="replace").strip()
    except OSError:
        return ""


def _is_running(holder: str) -> bool:
    match = re.fullmatch(r"process (\d+) on (\S+)", holder)
    if match is None or match[2] != socket.gethostname():
        return False
    # The number of this process is from an earlier start: in a container the trainer may always be process 1.
    return int(match[1]) != os.getpid() and psutil.pid_exists(int(match[1]))

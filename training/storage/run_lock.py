"""One process at a time writes a run: a lock that the kernel gives up with its holder."""

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

from ..common.errors import UserError

LOCK = "lock"

_LEAST_WAIT_SECONDS = 0.3
"""Whoever only asks whether a run is held holds it for a moment."""

_POLL_SECONDS = 0.05


@contextmanager
def lock_run(folder: Path, wait_seconds: float) -> Iterator[None]:
    """Hold a run's folder: one process at a time writes there. Raises `UserError` that names who does.

    The kernel gives the lock up with the process that held it, so none is ever stale; a process that was just killed may
    take a moment to go, which `wait_seconds` allows for. Where the file system has no locks, the process that is named in
    the file counts as the holder as long as it runs on this host.
    """
    path = folder / LOCK
    deadline = time.monotonic() + max(wait_seconds, _LEAST_WAIT_SECONDS)
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; choose a folder that can be written") from None
        try:
            if _take(handle) and _is_still(handle, path):
                _name_holder(handle, f"process {os.getpid()} on {socket.gethostname()}\n")
                try:
                    yield
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
    # On a full disk the name is missing; the lock is held all the same.
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
    # One's own number is left from an earlier life: in a container the trainer may always be process 1.
    return int(match[1]) != os.getpid() and psutil.pid_exists(int(match[1]))

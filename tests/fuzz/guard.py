"""Keeps what is tried inside one folder: to write outside it, or to start a program, is not permitted. See `within`."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PATHS = {
    "os.chmod": (0,),
    "os.chown": (0,),
    "os.link": (1,),
    "os.mkdir": (0,),
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.rmdir": (0,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "shutil.rmtree": (0,),
}
"""The events of changes, with the arguments that are paths."""
_STARTS = ("os.exec", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_folders: list[Path] = []
_has_hook = False


@contextlib.contextmanager
def within(folder: Path) -> Iterator[None]:
    """Refuse in this block, as the system does for a user without rights, what would change anything outside a folder.

    What a library does by itself in C is not seen.
    """
    global _has_hook
    if not _has_hook:
        sys.addaudithook(_look)
        _has_hook = True
    _folders.append(folder.resolve())
    try:
        yield
    finally:
        _folders.pop()


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if not _folders:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & _WRITES:
            _check(path, follow=True)
    elif event in _PATHS:
        for position in _PATHS[event]:
            _check(arguments[position], follow=False)
    elif event in _STARTS:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(arguments[0]))


def _check(path: object, *, follow: bool) -> None:
    if not isinstance(path, (str, bytes, os.PathLike)):
        return
    text = os.fsdecode(path)
    if text == os.devnull or "\0" in text:
        return
    place = os.path.realpath(text) if follow else os.path.abspath(os.path.dirname(text))
    if not Path(place).is_relative_to(_folders[-1]) or (follow and _is_device(place)):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), text)


def _is_device(place: str) -> bool:
    with contextlib.suppress(OSError):
        kind = os.stat(place).st_mode
        return stat.S_ISCHR(kind) or stat.S_ISBLK(kind)
    return False

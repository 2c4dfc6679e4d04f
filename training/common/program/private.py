"""What is written where others can reach it: never through a link, and never for everybody to change."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError


def open_file(path: Path, flags: int) -> int:
    """Return the descriptor of a file to write, made if it is not there.

    No link is followed and no pipe is waited for. Raises `OSError`, also for what is no file.
    """
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | careful, 0o664)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no file", str(path))
    return descriptor


def refuse_links(folder: Path) -> None:
    """Raise `UserError` if a folder that is to be written has a link in it: what is written there would land elsewhere."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            mode = os.lstat(path).st_mode if os.path.lexists(path) else stat.S_IFREG
            if stat.S_ISLNK(mode):
                raise UserError(
                    f"{path} is a link to {os.readlink(path)}, and Slipway writes through none in the folder of a run: put "
                    "what it leads to in its place, or remove it"
                )
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UserError(f"{path} is neither a file nor a folder: remove it from the folder of the run")


@contextmanager
def not_for_all_to_write() -> Iterator[None]:
    """Within its block, make no file and no folder that every user of the machine may change."""
    before = os.umask(0o002)
    os.umask(before | 0o002)
    try:
        yield
    finally:
        os.umask(before)

"""Where files of others come in: whatever is raised while one is read becomes the error of the place."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import TrainingFailed, UserError
from ..small_files import UnreadableError, remedy_of

REPORT = "https://github.com/slipway-train/slipway/issues"
_MOST_LETTERS = 200
_REMEDIES = {
    errno.ENOSPC: "free space there, or give another place",
    errno.EROFS: "give a place that can be written",
}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def remedy_of_writing(error: OSError) -> str:
    """Return what to do at a place that cannot be written, without an end: "make room there"."""
    if error.errno in _NO_ROOM:
        return "make room there"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "let this user write there"
    return "see that it can be written"


@contextmanager
def door(
    place: object, remedy: str, make_error: Callable[[str], Exception] = UserError, *passed: type[Exception]
) -> Iterator[None]:
    """Turn what is raised in this block, whatever it is, into one error of one line; what it was stands behind it.

    `UserError` and the kinds in `passed` go through as they are. The message begins with the file that was read, as far as
    the functions on the way name one, else with `place`, and ends with `remedy`. Where a fault of ours may be the cause it
    says how to report that; the traceback is shown with `--debug`.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (UserError, TrainingFailed, *passed)):
            raise
        raise make_error(f"{file_of(error) or place}: {why(error, remedy)}") from error


def why(error: Exception, remedy: str) -> str:
    """Return what went wrong while a file was read, and what to do."""
    words = " ".join(str(error).split())
    words = words if len(words) <= _MOST_LETTERS else f"{words[: _MOST_LETTERS - 3]}..."
    if isinstance(error, UnreadableError):
        return f"{words}; {remedy}"
    if isinstance(error, RecursionError):
        return f"is nested too deeply; {remedy}"
    if isinstance(error, MemoryError):
        return f"needs more memory than there is{f' ({words})' if words else ''}; {remedy}"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror}); {remedy_of(error) or remedy}"
    kind = type(error).__name__
    if kind == "SafetensorError":
        return f"is no whole safetensors file ({words.rpartition(': ')[2]}); {remedy}"
    return (
        f"cannot be read ({f'{kind}: {words}' if words else kind}); {remedy}; if nothing is wrong with it, report what "
        f"--debug shows at {REPORT}"
    )


def error_of_place(error: BaseException) -> UserError | None:
    """Return the error in one line for what the system says of a place that has a name: too long, closed, on a full disk.

    None where it says that there is no such place: who looked for it knows better what should be there.
    """
    if not isinstance(error, OSError) or not isinstance(error.filename, (str, os.PathLike)) or error.errno is None:
        return None
    if error.errno == errno.ENOENT:
        return None
    known = "" if isinstance(error, PermissionError) else remedy_of(error)
    remedy = known or _REMEDIES.get(error.errno, "see that it can be read and written, or give another place")
    return UserError(f"{os.fspath(error.filename)}: {error.strerror}; {remedy}")


def check_working_folder() -> None:
    """Raise `UserError` where the folder that this process works in is gone: no name is found there, and torch ends Python."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"the working folder cannot be used ({error.strerror}); change to one that exists: cd ~"
        ) from None


def file_of(error: BaseException) -> str:
    """Return the file that was read when an error was raised: what the innermost function with one calls its file or path."""
    if isinstance(error, OSError) and isinstance(error.filename, (str, os.PathLike)):
        return str(error.filename)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        for name in ("file", "path", "place"):
            found = frame.f_locals.get(name)
            if isinstance(found, Path) and found.is_file():
                return str(found)
    return ""

"""The standard streams of a program: they may be closed or full, and end nothing that can go on without them."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress

from .shown import printable

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_NAMES = ("stdin", "stdout", "stderr")


def open_closed_streams() -> None:
    """Lead each standard stream that is closed nowhere. Call it first: the next file that is opened would get its number.

    A file under the number of stdout would receive all that C code prints; the processes that this one starts would have it
    too.
    """
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


_shows_start = False


def say_starting() -> None:
    """Show on a terminal that the program has begun: to load its libraries takes seconds. What is printed next replaces it."""
    global _shows_start
    if os.environ.get("LOCAL_RANK", "0") != "0" or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return
    with suppress(OSError):
        if os.isatty(2):
            os.write(2, b"slipway: starting ...\r")
            _shows_start = True


def end_starting() -> None:
    """Take away what `say_starting` showed."""
    global _shows_start
    if _shows_start:
        _shows_start = False
        with suppress(OSError):
            os.write(2, b"\x1b[K")


def print_to_stderr(text: str = "", end: str = "\n", *, as_it_is: bool = False) -> None:
    """Print a text to stderr; where that is closed or full it is lost, and so is all that follows.

    It is shown as `printable` has it, or `as_it_is`: our own commands to the terminal, and what a program of the user's says.
    """
    end_starting()
    try:
        print(text if as_it_is else printable(text), end=end, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        stop_writing(to_stderr=True)


def has_no_room(error: BaseException) -> bool:
    """Return whether a write to a stream failed because what it leads to is full."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM and error.filename is None


def end_of_output(error: OSError) -> int | None:
    """Return the exit code of a program that was to print: 0 if the reader has left, 1 if there is no room, which is said.

    None for any other error. What is printed after it goes nowhere.
    """
    has_left = isinstance(error, BrokenPipeError)
    if not has_left and not has_no_room(error):
        return None
    stop_writing(to_stderr=False)
    if has_left:
        return 0
    print_to_stderr(f"error: stdout: {error.strerror}; not all was written")
    return 1


def stop_writing(to_stderr: bool) -> None:
    """Lead stderr, or stdout, nowhere, so that what is still buffered does not fail when the program ends."""
    stream = sys.stderr if to_stderr else sys.stdout
    with suppress(OSError, ValueError, AttributeError):  # it is no file, or none that is open
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)

"""The end of a program by an error: of Slipway's commands, and of a script that does not catch it."""

from __future__ import annotations

import os
import platform
import re
import sys
import traceback
from types import TracebackType

from ..errors import EXIT_BAD_INPUT, EXIT_FAILED, TrainingFailed, UserError
from .doors import REPORT, error_of_place
from .places import is_ours
from .streams import print_to_stderr

_COUNT = re.compile("[0-9]{1,9}")


def end_scripts_in_one_line() -> None:
    """Have an uncaught `UserError` or `TrainingFailed` end this program with one line and exit code 2 or 1.

    With `--debug` or SLIPWAY_DEBUG=1, and at an interactive prompt, it keeps its traceback, as any other exception does.
    One that Slipway's own code raised says then how to report it.
    """
    if sys.excepthook is not _end_in_one_line:
        _before.append(sys.excepthook)
        sys.excepthook = _end_in_one_line


def wants_traceback(arguments: list[str]) -> bool:
    """Return whether the traceback of an error in the input is asked for."""
    return "--debug" in arguments or os.environ.get("SLIPWAY_DEBUG", "") not in ("", "0")


def print_error(error: UserError | TrainingFailed) -> None:
    """Print an error in one line, on the rank that has to tell it."""
    if error.is_alone and os.environ.get("RANK") != "0":
        print_to_stderr(f"error: rank {os.environ.get('RANK')}: {error}")
    elif prints() or (error.is_alone is None and os.environ.get("LOCAL_RANK") == "0"):
        # Before the ranks are connected, each machine may have its own error, such as a missing file.
        print_to_stderr(f"error: {error}")


def print_traceback(error: BaseException) -> None:
    """Print the traceback of an error; after that of a fault in Slipway's own code, how to report it."""
    print_to_stderr("".join(traceback.format_exception(error)), end="")
    _say_how_to_report(error)


def prints() -> bool:
    """Return whether this process prints what all processes of a launch have to say."""
    # All ranks fail in the same way, so one prints the error; a rank whose error is that it has no world prints its own.
    # Of two values that make no place in a launch nobody else would tell.
    rank, size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    return not (_COUNT.fullmatch(rank) and _COUNT.fullmatch(size) and 0 < int(rank) < int(size))


_before = [sys.__excepthook__]


def _end_in_one_line(kind: type[BaseException], error: BaseException, entries: TracebackType | None) -> None:
    is_prompt = hasattr(sys, "ps1") or sys.flags.interactive
    of_place = error_of_place(error) if is_ours(error) and not wants_traceback(sys.argv) else None
    error = of_place or error
    if not isinstance(error, (UserError, TrainingFailed)):
        _before[-1](kind, error, entries)
        _say_how_to_report(error)
        return
    if is_prompt or error.shows_stack or wants_traceback(sys.argv):
        _before[-1](kind, error, entries)
    else:
        print_error(error)
    if not is_prompt:
        # The one way to give a program that ends by an exception another exit code than 1.
        raise SystemExit(EXIT_FAILED if isinstance(error, TrainingFailed) else EXIT_BAD_INPUT)


def _say_how_to_report(error: BaseException) -> None:
    if isinstance(error, Exception) and not isinstance(error, (UserError, TrainingFailed)) and is_ours(error):
        print_to_stderr(
            f"This is a fault of Slipway, not of what it was given. Please report it with the lines above, the command, and "
            f"`slipway detect` (Python {platform.python_version()}, {platform.system()}): {REPORT}"
        )

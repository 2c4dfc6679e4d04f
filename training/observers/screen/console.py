"""The console of a run: which one fits the streams, and log messages on the same one."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

from rich.console import Console

from ...common.program.console import SteadyConsole
from ...common.program.ipython import in_notebook
from .base import QuietConsole
from .lines import LinesConsole
from .live import LiveConsole
from .notebook.console import NotebookConsole
from .records import RecordsConsole, json_line, key_values

PIPE_COLUMNS = 100


def is_live_terminal(stream: TextIO | None, environment: Mapping[str, str]) -> bool:
    """Return whether a stream is a terminal that can redraw lines: not a pipe, not CI, not `TERM=dumb`.

    `FORCE_COLOR` does not count: it would animate in a pipe.
    """
    if environment.get("TERM") in ("dumb", "unknown") or environment.get("CI", "") not in ("", "0", "false"):
        return False
    return stream is not None and not stream.closed and stream.isatty()


def make_console(
    *, stderr: bool = True, stream_is_terminal: bool | None = None, kind: type[SteadyConsole] = SteadyConsole
) -> Console:
    """Return the console of stderr or stdout. Off a terminal it is 100 columns wide and has no colours."""
    if stream_is_terminal is None:
        stream_is_terminal = is_live_terminal(sys.stderr if stderr else sys.stdout, os.environ)
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        # A stage's name in another alphabet must not end a run where stdout is ASCII.
        stream.reconfigure(errors="backslashreplace")
    return kind(
        stderr=stderr,
        force_terminal=stream_is_terminal,
        force_interactive=stream_is_terminal,
        force_jupyter=False,
        color_system="auto" if stream_is_terminal else None,
        width=None if stream_is_terminal else PIPE_COLUMNS,
        # A name with brackets or colons in it is shown as it is.
        markup=False,
        emoji=False,
        highlight=False,
    )


def make_console_observer(
    *,
    log_level: str,
    log_format: str = "auto",
    verbose: bool = False,
    stream_is_terminal: bool | None = None,
    console: Console | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> QuietConsole:
    """Return the observer that prints a run: progress on stderr, the result table on stdout.

    `log_level` is `debug`, `info`, `warning` or `error`: above info no progress is printed, above warning no warnings.
    `log_format` is `auto` (bars on a terminal, else text), `text`, `logfmt` or `json`; with `verbose` all is told.
    `stream_is_terminal` says whether stderr is one; `None`: find out. `console` is used instead of a new one, `clock`
    returns seconds.
    """
    level = level_of(log_level)
    if console is None and stream_is_terminal is None and log_format == "auto" and in_notebook():
        return NotebookConsole(level, clock=clock)
    if console is None:
        console = make_console(stream_is_terminal=stream_is_terminal if log_format == "auto" else False)
    results = make_console(stderr=False)
    observer: QuietConsole
    if log_format in ("logfmt", "json"):
        observer = RecordsConsole(
            console, results, level, clock, line_of=json_line if log_format == "json" else key_values
        )
    elif level > logging.INFO:
        observer = QuietConsole(console, results, level)
    else:
        observer = (LiveConsole if console.is_terminal else LinesConsole)(console, results, level, clock)
    observer.is_verbose |= verbose
    return observer


def configure_logging(log_level: str, say: Callable[[int, str, str], None]) -> None:
    """Send the messages of the `slipway` logger to `say` of the run's console, so that they do not tear its bars."""
    logger = logging.getLogger("slipway")
    for handler in list(logger.handlers):
        if isinstance(handler, _ConsoleHandler):
            logger.removeHandler(handler)
    logger.addHandler(_ConsoleHandler(say))
    logger.setLevel(level_of(log_level))
    logger.propagate = False


def level_of(name: str) -> int:
    """Return the number of a level's name, `info` or `INFO`. Raises `KeyError` for another name."""
    return logging.getLevelNamesMapping()[name.upper()]


class _ConsoleHandler(logging.Handler):
    def __init__(self, say: Callable[[int, str, str], None]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._say(record.levelno, "log", self.format(record))
        except Exception:
            self.handleError(record)

"""The proof that nothing ran: an audit hook of the interpreter, and a file that hostile code would make."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MARKER = "it-ran"

_RUNS = frozenset(
    (
        "pickle.find_class",
        "os.system",
        "os.exec",
        "os.fork",
        "os.posix_spawn",
        "os.spawn",
        "pty.spawn",
        "subprocess.Popen",
        "socket.connect",
        "socket.getaddrinfo",
    )
)
"""Events of the interpreter by which what stands in a file would have code run, or reach the network."""

_watched: tuple[str, list[str]] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is None:
        return
    folder, seen = _watched
    if event in _RUNS:
        seen.append(f"{event}{arguments!r}"[:300])
    elif event == "exec" and (file := getattr(arguments[0], "co_filename", "")).startswith(folder):
        seen.append(f"exec {file}")


sys.addaudithook(_hook)  # which stays for the rest of the process; outside the block below it does nothing


@contextmanager
def nothing_runs(folder: Path) -> Iterator[list[str]]:
    """Assert that its block runs no file of a folder, unpickles and starts nothing, connects to nothing, and makes no marker.

    Yields what was seen so far.
    """
    global _watched
    seen: list[str] = []
    _watched = str(folder), seen
    try:
        yield seen
    finally:
        _watched = None
    assert seen == []
    assert marks(folder) == []


def marks(folder: Path) -> list[Path]:
    """Return the markers that hostile code has made below a folder, or in the working folder."""
    return sorted({*folder.rglob(MARKER), *Path.cwd().glob(MARKER)})


class Hostile:
    """An object whose pickle makes the marker when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.command = f"touch {folder / MARKER}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what `pickle.loads` calls."""
        return os.system, (self.command,)

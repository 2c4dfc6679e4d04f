"""Follow the journal of a run that still writes it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...training.common.errors import UserError
from ...training.common.small_files import UnreadableError, open_regular
from ...training.observers.journal import parse_event

_READ_BYTES = 1 << 20
_POLL_SECONDS = 0.5


class JournalTail:
    """The lines of a journal that are complete, each once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode: int | None = None
        self._offset = 0
        self._partial = b""

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the events that were written since the last call; none while there is no file.

        Raises `UserError` for a line that is no event.
        """
        try:
            state = os.stat(self._path)
        except OSError:
            return
        whole = self._offset - len(self._partial)
        if state.st_ino != self._inode or state.st_size < whole:  # a journal that was removed is begun anew
            self._inode, self._offset, self._partial = state.st_ino, 0, b""
        elif state.st_size < self._offset:  # a resume takes away a line that was left half-written
            self._offset, self._partial = whole, b""
        try:
            file = open_regular(self._path)
        except (OSError, UnreadableError) as error:
            problem = getattr(error, "strerror", None) or error
            raise UserError(f"{self._path}: no readable journal here ({problem}); name another run") from None
        with file:
            file.seek(self._offset)
            while content := file.read(_READ_BYTES):
                self._offset += len(content)
                *lines, self._partial = (self._partial + content).split(b"\n")
                for line in lines:
                    event = parse_event(line)
                    if event is None:
                        raise UserError(f"{self._path}: a line is no event ({line[:60]!r}); fix or delete that line")
                    yield event


def follow(tail: JournalTail, is_over: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """Yield the events of a journal as they come, until `is_over`, and then those that are left."""
    while not is_over():
        yield from tail.read()
        time.sleep(_POLL_SECONDS)
    yield from tail.read()

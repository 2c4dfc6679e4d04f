"""Ends a process that makes no progress, such as one in a hung collective, with its stacks in the run's folder."""

from __future__ import annotations

import faulthandler
import threading
from pathlib import Path
from types import TracebackType
from typing import TextIO

STACKS = "stacks"


class Watchdog:
    """Watches over a loop that calls `beat`; without a beat for `limit_seconds` the process ends with exit code 1.

    The stacks of all its threads are then in `<folder>/stacks/rank_<rank>.txt`. The timer is the interpreter's own C
    thread, which needs no lock that hung code may hold. No limit, or no folder: nothing is watched.
    """

    def __init__(self, folder: Path | None, rank: int, limit_seconds: float | None) -> None:
        self._folder = folder
        self._rank = rank
        self._limit = limit_seconds
        self._beats = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._file: TextIO | None = None

    def beat(self) -> None:
        """Say that there is progress. Cheap enough for every step."""
        self._beats += 1

    def __enter__(self) -> Watchdog:
        if self._folder is not None and self._limit is not None:
            folder = self._folder / STACKS
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / f"rank_{self._rank}.txt").open("w", encoding="utf-8")
            self._arm()
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            faulthandler.cancel_dump_traceback_later()
        if self._file is not None:
            path = Path(self._file.name)
            self._file.close()
            path.unlink(missing_ok=True)  # it is empty: nothing hung

    def _watch(self) -> None:
        assert self._limit is not None
        seen = self._beats
        while not self._stop.wait(min(5.0, self._limit / 10)):
            if self._beats != seen:
                seen = self._beats
                self._arm()

    def _arm(self) -> None:
        assert self._limit is not None
        assert self._file is not None
        faulthandler.dump_traceback_later(self._limit, exit=True, file=self._file)

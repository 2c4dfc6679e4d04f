"""End a process that makes no progress, such as one in a hung collective, and keep its stacks in the run's folder."""

from __future__ import annotations

import faulthandler
import os
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from ..common.program.threads import start_helper

STACKS = "stacks"

_LONGEST_POLL_SECONDS = 5.0
_OUTER_FACTOR = 3.0
"""How many times the limit a process may stand still that does not let its own threads look."""


class Watchdog:
    """Ends the process with exit code 1 if its loop does not call `beat` for `limit_seconds`.

    The stacks of all its threads are appended to `<folder>/stacks/rank_<rank>.txt`; if the folder is missing or cannot be
    written, as on another machine, they go to stderr. Without a limit or a folder nothing is watched.
    """

    def __init__(self, folder: Path | None, rank: int, limit_seconds: float | None) -> None:
        self._folder = folder
        self._rank = rank
        self._limit = limit_seconds
        self._poll = min(_LONGEST_POLL_SECONDS, (limit_seconds or 0.0) / 10)
        self._beats = 0
        self._is_paused = False
        self._last_beat = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._file: TextIO | None = None
        self._path: Path | None = None

    def beat(self) -> None:
        """Note progress. Cheap enough for every step."""
        self._beats += 1

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the limit within the block: a file may take long to write, on this rank or on the one that is waited for."""
        self._is_paused = True
        try:
            yield
        finally:
            self._beats += 1
            self._is_paused = False

    def __enter__(self) -> Watchdog:
        if self._folder is not None and self._limit is not None:
            self._open(self._folder)
            self._last_beat = time.monotonic()
            thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            if start_helper(thread, "a training that hangs is not ended"):
                self._thread = thread
            else:
                self._close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None or self._file is None or self._limit is None:
            return
        self._stop.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        still_seconds = time.monotonic() - self._last_beat
        if isinstance(error, RuntimeError) and still_seconds > self._limit / 2:
            # Another rank reached its limit a little earlier, and took the connection with it.
            self._write(f"rank {self._rank} stood still for {still_seconds:.0f} s, then another one ended:\n")
            self._write("".join(traceback.format_exception(error)))
        self._close()

    def _open(self, folder: Path) -> None:
        with suppress(OSError):
            if folder.is_dir():
                (folder / STACKS).mkdir(exist_ok=True)
                self._path = folder / STACKS / f"rank_{self._rank}.txt"
                self._file = self._path.open("a", encoding="utf-8")
                return
        self._path = None
        self._file = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - closed with the watch

    def _close(self) -> None:
        assert self._file is not None
        self._file.close()
        if self._path is not None:
            with suppress(OSError):
                if self._path.stat().st_size == 0:
                    self._path.unlink()
                self._path.parent.rmdir()  # unless a stack is in it

    def _watch(self) -> None:
        assert self._limit is not None
        self._arm()
        seen, still_seconds, looked = self._beats, 0.0, time.monotonic()
        while not self._stop.wait(self._poll):
            if self._beats != seen or self._is_paused:
                seen = self._beats
                self._last_beat = time.monotonic()
                self._arm()
                still_seconds = 0.0
            else:
                # A process that was stopped meanwhile, or a machine that slept, did not hang.
                still_seconds += min(time.monotonic() - looked, 2 * self._poll)
                if still_seconds >= self._limit:
                    self._end(self._limit)
            looked = time.monotonic()

    def _arm(self) -> None:
        """Set faulthandler's timer too: its C thread needs no lock that hung code may hold.

        It does not know of a time in which the process was stopped, so it waits longer.
        """
        assert self._limit is not None
        assert self._file is not None
        with suppress(RuntimeError):  # no thread to be had for it
            faulthandler.dump_traceback_later(_OUTER_FACTOR * self._limit, exit=True, file=self._file)

    def _end(self, limit: float) -> None:
        assert self._file is not None
        where = f"; its stacks are in {self._path}" if self._path else ""
        with suppress(OSError):
            os.write(2, f"\nerror: rank {self._rank} made no progress for {limit:g} s{where}\n".encode())
        self._write(f"rank {self._rank}, process {os.getpid()}, made no progress for {limit:g} s:\n")
        with suppress(OSError, ValueError):
            faulthandler.dump_traceback(self._file, all_threads=True)
        os._exit(1)

    def _write(self, text: str) -> None:
        assert self._file is not None
        with suppress(OSError):
            self._file.write(text)
            self._file.flush()

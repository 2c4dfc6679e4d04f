"""End a process that makes no progress, such as one in a hung collective, and keep its stacks in the run's folder."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from ..common.program.threads import start_helper
from . import onlooker

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
        self._kept_bytes = 0
        """Of the file: what earlier processes wrote."""
        self._onlooker: subprocess.Popen[bytes] | None = None

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
            self._onlooker = _start_onlooker(_OUTER_FACTOR * self._limit)
            self._arm()
            if start_helper(thread, "a training that hangs is not ended"):
                self._thread = thread
            else:
                faulthandler.cancel_dump_traceback_later()
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
        self._forget_dumps()
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
                self._kept_bytes = self._file.tell()
                return
        self._path = None
        self._file = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - closed with the watch

    def _close(self) -> None:
        assert self._file is not None
        self._file.close()
        if self._onlooker is not None:
            self._onlooker.kill()  # the end of its pipe does not tell it: processes forked meanwhile hold the pipe too
            self._onlooker.communicate()
        if self._path is not None:
            with suppress(OSError):
                if self._path.stat().st_size == 0:
                    self._path.unlink()
                self._path.parent.rmdir()  # unless a stack is in it

    def _watch(self) -> None:
        assert self._limit is not None
        seen, still_seconds, looked = self._beats, 0.0, time.monotonic()
        while not self._stop.wait(self._poll):
            self._greet_onlooker()
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
        """Set faulthandler's timer too, which shows the stacks: its C thread needs no lock that hung code may hold.

        It does not know of a time in which the process was stopped. So the onlooker, if there is one, ends the process.
        """
        assert self._limit is not None
        assert self._file is not None
        self._forget_dumps()
        with suppress(RuntimeError):  # no thread to be had for it
            faulthandler.dump_traceback_later(_OUTER_FACTOR * self._limit, exit=self._onlooker is None, file=self._file)

    def _forget_dumps(self) -> None:
        """Remove the stacks of a process that was stopped for long and goes on."""
        if self._path is not None and self._file is not None:
            with suppress(OSError):
                if os.fstat(self._file.fileno()).st_size > self._kept_bytes:
                    os.ftruncate(self._file.fileno(), self._kept_bytes)

    def _greet_onlooker(self) -> None:
        if self._onlooker is not None and self._onlooker.stdin is not None:
            with suppress(OSError):  # it does not read: stopped, or gone
                os.write(self._onlooker.stdin.fileno(), b".")

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


def _start_onlooker(limit_seconds: float) -> subprocess.Popen[bytes] | None:
    """Start the program that looks on, in a session of its own, which the signals of a terminal do not reach."""
    command = [sys.executable, "-I", "-S", onlooker.__file__, str(os.getpid()), str(limit_seconds)]
    kept = {name: value for name, value in os.environ.items() if name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")}
    try:
        started = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=kept, cwd="/", start_new_session=True
        )
    except OSError:
        return None
    assert started.stdin is not None
    os.set_blocking(started.stdin.fileno(), False)
    return started

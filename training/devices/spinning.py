"""How the threads of OpenMP wait for each other: by spinning on a machine of their own, asleep where others want the cores.

At the end of each operation PyTorch's threads wait for the last of them. GNU OpenMP spins for some milliseconds, which is
fastest while each thread has a core. Where another program has one of the cores, the others spin for a thread that is not
running, and take from it the time in which it could. GNU OpenMP spins a thousand times less as soon as a process has more
threads of OpenMP than the machine has cores (GOMP_SPINCOUNT in its manual), and looks at each wait; so a second group of
threads, which never works, is all it takes to change the way of waiting at any time, and its end to change it back. What is
computed stays the same to the last bit.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import torch

from ..common.program.threads import start_helper

_PERIOD_SECONDS = 0.2
_BUSY, _QUIET = 0.1, 0.03
"""Seconds in a second that threads wait for a core: from the first on they stop to spin, below the second they may again."""
_FIRST_HOLD_SECONDS, _LONGEST_HOLD_SECONDS = 1.0, 60.0
_PROBE_SECONDS = 2.0
_CHOSEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


class SpinChoice:
    """Whether to spin, from the time that threads wait for cores. It tries again after a quiet time, less and less often."""

    def __init__(self) -> None:
        self.spins = True
        self.is_shared = False
        """Whether others were found to want the cores; unlike `spins` it stays while spinning is tried again."""
        self._hold, self._quiet, self._spun = _FIRST_HOLD_SECONDS, 0.0, 0.0

    def note(self, share: float, seconds: float) -> None:
        """Note that in the last `seconds` the threads waited for cores for `share` of them, added up over threads."""
        if self.spins:
            self._spun += seconds
            if share >= _BUSY:
                failed = self.is_shared and self._spun <= _PROBE_SECONDS
                self._hold = min(2 * self._hold, _LONGEST_HOLD_SECONDS) if failed else _FIRST_HOLD_SECONDS
                self.spins, self.is_shared, self._quiet = False, True, 0.0
            elif self._spun > _PROBE_SECONDS:
                self.is_shared = False
            return
        self._quiet = self._quiet + seconds if share < _QUIET else 0.0
        if self._quiet > self._hold - seconds / 2:  # as sums of such numbers are not exact
            self.spins, self._spun = True, 0.0


class SpinControl:
    """Within its block, lets the threads of OpenMP spin only while nobody else wants the cores.

    It does nothing where they do not spin: with one thread, without GNU OpenMP, or where the user chose (`OMP_WAIT_POLICY`,
    `GOMP_SPINCOUNT`); and where the system does not tell how long threads wait for a core, as outside of Linux.
    """

    def __init__(self, waited: Callable[[], dict[int, float]] | None = None) -> None:
        self._waited = waited or waited_seconds
        self._choice = SpinChoice()
        self._library: ctypes.CDLL | None = None
        self._idle_team: _IdleTeam | None = None
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._told = False

    @property
    def spins(self) -> bool:
        """Whether the threads spin, as they do by default."""
        return self._idle_team is None

    def take_change(self) -> bool | None:
        """Return whether others want the cores, if that changed since the last call; else None."""
        is_shared = self._choice.is_shared
        if is_shared == self._told:
            return None
        self._told = is_shared
        return is_shared

    def __enter__(self) -> SpinControl:
        is_chosen = any(os.environ.get(name) for name in _CHOSEN)
        if not is_chosen and torch.get_num_threads() > 1 and self._waited():
            self._library = gnu_openmp()
        if self._library is not None:
            thread = threading.Thread(target=self._watch, args=(self._library,), name="spinning", daemon=True)
            if start_helper(thread, "threads spin as OpenMP has them"):
                self._thread = thread
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._end.set()
            self._thread.join()
            self._thread = None

    def _watch(self, library: ctypes.CDLL) -> None:
        before = self._waited()
        try:
            while not self._end.wait(_PERIOD_SECONDS):
                now = self._waited()
                waited = sum(max(0.0, seconds - before[thread]) for thread, seconds in now.items() if thread in before)
                before = now
                self._choice.note(waited / _PERIOD_SECONDS, _PERIOD_SECONDS)
                if self._choice.spins and self._idle_team is not None:
                    self._idle_team.close()
                    self._idle_team = None
                elif not self._choice.spins and self._idle_team is None:
                    self._idle_team = _IdleTeam(library)
        except RuntimeError:  # no thread to be had: all goes on as it was
            pass
        finally:
            if self._idle_team is not None:
                self._idle_team.close()
                self._idle_team = None


class _IdleTeam:
    """Threads of OpenMP that never work: with them the process has more than the machine has cores."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._end, is_made = threading.Event(), threading.Event()
        self._size = max(2, len(os.sched_getaffinity(0)) - torch.get_num_threads() + 2)
        _check_threads(self._size + 1)
        self._thread = threading.Thread(target=self._keep, args=(is_made,), name="idle OpenMP team", daemon=True)
        self._thread.start()  # raises RuntimeError where the system has no more threads
        is_made.wait()

    def close(self) -> None:
        """End the threads."""
        self._end.set()
        self._thread.join()

    def _keep(self, is_made: threading.Event) -> None:
        # The team of a thread is made by the first block that it computes in parallel, and ends with the thread. In the
        # block each of them frees nothing: `free` is a function of one pointer, as OpenMP calls it.
        nothing = ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)
        self._library.GOMP_parallel(nothing, None, ctypes.c_uint(self._size), ctypes.c_uint(0))
        is_made.set()
        self._end.wait()


def _check_threads(count: int) -> None:
    """Raise `RuntimeError` unless so many threads can be started: OpenMP would end the process for one that cannot."""
    end = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            started.append(thread)
    finally:
        end.set()
        for thread in started:
            thread.join()


def gnu_openmp() -> ctypes.CDLL | None:
    """Return the GNU OpenMP library that this process has loaded; None where it has another one or none."""
    with suppress(OSError):
        for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
            path = line.partition("/")[1:]
            if "libgomp" in Path("".join(path)).name:
                library = ctypes.CDLL("".join(path))
                return library if hasattr(library, "GOMP_parallel") else None
    return None


def waited_seconds() -> dict[int, float]:
    """Return by thread of this process how long it has waited for a core while it could run; empty if nobody says."""
    found = {}
    with suppress(OSError, ValueError, IndexError):
        for thread in os.listdir("/proc/self/task"):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                text = Path("/proc/self/task", thread, "schedstat").read_text(encoding="ascii")
                found[int(thread)] = int(text.split()[1]) / 1e9
    return found

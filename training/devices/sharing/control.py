"""How the threads of OpenMP wait for each other: by spinning on a machine of their own, asleep where others want the cores.

At the end of each operation PyTorch's threads wait for the last of them. GNU OpenMP spins for some milliseconds, which is
fastest while each thread has a core. Where another program has one of the cores, the others spin for a thread that is not
running, and take from it the time in which it could. GNU OpenMP spins a thousand times less as soon as a process has more
threads of OpenMP than the machine has cores (GOMP_SPINCOUNT in its manual), and looks at each wait; so a second group of
threads, which never works, is all it takes to change the way of waiting at any time, and its end to change it back. Where
that is not fast enough, the threads take turns on half of the cores while a step is computed. Their number stays, so what
is computed stays the same to the last bit; another number would cut sums at other places.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import TypeVar

import torch

from ...common.program.threads import start_helper
from .choice import Way, WayChoice
from .observed import OtherPrograms, used_core_seconds, waited_seconds
from .openmp import IdleTeam, Team, gnu_openmp

_PERIOD_SECONDS = 0.2
_TOLD_EVERY_SECONDS = 10.0
_CHOSEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_T = TypeVar("_T")


class CoreControl:
    """Within its block, lets the threads of OpenMP spin only while nobody else wants the cores.

    It does nothing where they do not spin: with one thread, without GNU OpenMP, or where the user chose (`OMP_WAIT_POLICY`,
    `GOMP_SPINCOUNT`); and where the system does not tell how long threads wait for a core, as outside of Linux.
    """

    def __init__(self, waited: Callable[[], dict[int, float]] = waited_seconds, *, may_gather: bool = True) -> None:
        """`may_gather`: whether threads may run on half of the cores; not where their number was fixed."""
        self._waited, self._may_gather = waited, may_gather
        self._choice = WayChoice()
        self._library: ctypes.CDLL | None = None
        self._idle_team: IdleTeam | None = None
        self._team: Team | None = None
        self._turn = os.getpid()  # two trainings do not begin on the same core
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._told: Way = "spinning"
        self._told_at = -_TOLD_EVERY_SECONDS

    @property
    def spins(self) -> bool:
        """Whether the threads spin, as they do by default."""
        return self._idle_team is None

    def take_change(self) -> Way | None:
        """Return how threads wait from now on, if that changed since the last call; None else, and for some seconds after."""
        way, now = self._choice.settled, time.monotonic()
        if way == self._told or now - self._told_at < _TOLD_EVERY_SECONDS:
            return None
        self._told, self._told_at = way, now
        return way

    @contextmanager
    def step(self) -> Iterator[None]:
        """Compute a step within the block, on the cores that suit it; called by the thread that computes."""
        way, started = self._choice.way, time.perf_counter()
        with self.computing():
            yield
        self._choice.note_step(way, time.perf_counter() - started)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute something else within the block, on the cores that suit it; called by the thread that computes steps."""
        team = self._find_team(self._choice.way)
        with team.gathered() if team else nullcontext():
            yield

    def between(self, batches: Iterator[_T]) -> Iterator[_T]:
        """Yield the batches of a step; what they start, such as threads that load, may use all cores."""
        while True:
            team = self._team
            try:
                if team is None:
                    batch = next(batches)
                else:
                    with team.released():
                        batch = next(batches)
            except StopIteration:
                return
            yield batch

    def _find_team(self, way: Way) -> Team | None:
        if way != "together" or self._library is None:
            self._team = None
        elif self._team is None:
            self._turn += 1
            self._team = Team(self._library, self._turn)
        return self._team

    def __enter__(self) -> CoreControl:
        is_chosen = any(os.environ.get(name) for name in _CHOSEN)
        if not is_chosen and torch.get_num_threads() > 1 and self._waited():
            self._library = gnu_openmp()
        if self._library is not None:
            self._choice = WayChoice(can_gather=self._may_gather and _can_gather())
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
        before, others = self._waited(), OtherPrograms()
        try:
            while not self._end.wait(_PERIOD_SECONDS):
                now = self._waited()
                waited = sum(max(0.0, seconds - before[thread]) for thread, seconds in now.items() if thread in before)
                before = now
                self._choice.note(waited / _PERIOD_SECONDS, _PERIOD_SECONDS, others.cores())
                if self._choice.spins and self._idle_team is not None:
                    self._idle_team.close()
                    self._idle_team = None
                elif not self._choice.spins and self._idle_team is None:
                    self._idle_team = IdleTeam(library)
        except RuntimeError:  # no thread to be had: all goes on as it was
            self._choice = WayChoice()
        finally:
            if self._idle_team is not None:
                self._idle_team.close()
                self._idle_team = None


def _can_gather() -> bool:
    """Return whether threads can be moved to other cores, and the system tells who uses them."""
    try:
        os.sched_setaffinity(0, os.sched_getaffinity(0))
    except (OSError, AttributeError):
        return False
    return used_core_seconds() is not None

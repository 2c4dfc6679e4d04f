"""GNU OpenMP in this process: whether its threads spin while they wait, and on which cores they run."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch


def gnu_openmp() -> ctypes.CDLL | None:
    """Return the GNU OpenMP library that this process has loaded; None where it has another one or none."""
    with suppress(OSError):
        for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
            path = line.partition("/")[1:]
            if "libgomp" in Path("".join(path)).name:
                library = ctypes.CDLL("".join(path))
                return library if hasattr(library, "GOMP_parallel") else None
    return None


class Team:
    """The threads that compute with the thread which makes this; half of the cores are enough for them to take turns on."""

    def __init__(self, library: ctypes.CDLL, turn: int) -> None:
        """`turn` says which cores: those from that one on, counted around."""
        size = torch.get_num_threads()
        found: list[int] = []
        block = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: found.append(threading.get_native_id()))
        library.GOMP_parallel(block, None, ctypes.c_uint(size), ctypes.c_uint(0))
        self.threads = tuple(found)
        cores = sorted(os.sched_getaffinity(0))
        first = turn % len(cores)
        self.cores = frozenset((cores[first:] + cores[:first])[: -(-size // 2)])
        self._before: dict[int, set[int]] = {}

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Keep the threads on half of the cores within the block; those that have ended are left out."""
        try:
            for thread in self.threads:
                with suppress(OSError):
                    self._before[thread] = os.sched_getaffinity(thread)
                    os.sched_setaffinity(thread, self.cores)
            yield
        finally:
            for thread, cores in self._before.items():
                with suppress(OSError):
                    os.sched_setaffinity(thread, cores)
            self._before.clear()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Let the calling thread use all its cores within the block: what it starts there inherits them."""
        thread = threading.get_native_id()
        with suppress(OSError):
            os.sched_setaffinity(thread, self._before.get(thread, self.cores))
        try:
            yield
        finally:
            with suppress(OSError):
                os.sched_setaffinity(thread, self.cores)


class IdleTeam:
    """Threads of OpenMP that never work: with them the process has more than the machine has cores, and none spins long."""

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

"""Tells once how long a user waited, from the start of the process to the end of the first optimizer step."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from .events import Decision, Observer, Observers, RunStart, StepEnd

_IMPORTED_AT = time.perf_counter()


class FirstStep(Observer):
    """Takes itself from the observers as soon as it has told them."""

    def __init__(self, observers: Observers) -> None:
        self._observers = observers
        self._seconds_before_run = 0.0

    def on_run_start(self, event: RunStart) -> None:
        """Note what came before: imports, data, model."""
        self._seconds_before_run = process_age_seconds()

    def on_step(self, event: StepEnd) -> None:
        """Tell it."""
        self._observers.remove(self)
        seconds, before = process_age_seconds(), self._seconds_before_run
        reason = f"done {seconds:.1f} s after the start of the process; the data and the model were ready after {before:.1f} s"
        fields = {"seconds": round(seconds, 3), "seconds_before_run": round(before, 3)}
        self._observers.on_decision(Decision(kind="first_step", reason=reason, fields=fields))


def process_age_seconds() -> float:
    """Return how long this process has existed; where the system does not say, since this module was imported."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        # Field 22 of /proc/self/stat (man 5 proc), counted behind the name, which may hold spaces.
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    with suppress(ImportError):
        import psutil

        return max(0.0, time.time() - psutil.Process().create_time())
    return time.perf_counter() - _IMPORTED_AT

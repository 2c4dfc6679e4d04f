"""Reports once how long a user waited, from the start of the process to the end of the first optimizer step."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from .events import Decision, Observer, Observers, RunStart, StepEnd

_STAT = Path("/proc/self/stat")


class FirstStep(Observer):
    """Reports the first step as a decision, then removes itself from the observers."""

    def __init__(self, observers: Observers) -> None:
        self._observers = observers
        self._seconds_before_run = 0.0

    def on_run_start(self, event: RunStart) -> None:
        """Note how long imports, data and model took."""
        self._seconds_before_run = process_age_seconds()

    def on_step(self, event: StepEnd) -> None:
        """Report the step, and leave."""
        self._observers.remove(self)
        seconds, before = process_age_seconds(), self._seconds_before_run
        reason = f"done {seconds:.1f} s after the start of the process; the data and the model were ready after {before:.1f} s"
        fields = {"seconds": round(seconds, 3), "seconds_before_run": round(before, 3)}
        self._observers.on_decision(Decision(kind="first_step", reason=reason, fields=fields))


def process_age_seconds() -> float:
    """Return how long this process has existed."""
    if _STAT.exists():
        # psutil knows the start only to the second here. Field 22 (man 5 proc), counted behind the name, which may hold
        # spaces.
        ticks = int(_STAT.read_text().rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    return max(0.0, time.time() - psutil.Process().create_time())

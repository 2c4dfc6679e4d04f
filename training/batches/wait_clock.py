"""How long the training thread waits for batches, counted step by step."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Any


class WaitClock:
    """Adds up the seconds that the training thread waits for batches, or makes them itself.

    Entered around each wait, which a profiler sees as `section`.
    """

    def __init__(self, section: AbstractContextManager[Any]) -> None:
        self._section = section
        self._seconds = self._taken_seconds = 0.0
        self._entered_at = 0.0
        self._num_sharing = 1
        self._due_seconds, self._num_due = 0.0, 0
        """What each of the next steps has a part in of a wait that is over."""
        self._lap_started = self._lap_seconds = 0.0

    def shared_by(self, num_steps: int) -> WaitClock:
        """Return the clock, to be entered for a wait that the present step and those after it share evenly."""
        self._num_sharing = num_steps
        return self

    def __enter__(self) -> None:
        self._entered_at = time.perf_counter()
        self._section.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._section.__exit__(*error)
        seconds = (time.perf_counter() - self._entered_at) / self._num_sharing
        self._seconds += seconds
        if self._num_sharing > 1:
            self._due_seconds, self._num_due = seconds, self._num_sharing - 1
            self._num_sharing = 1

    def start_step(self) -> None:
        """Count the step's part in a wait of an earlier step."""
        if self._num_due:
            self._num_due -= 1
            self._seconds += self._due_seconds

    def start_epoch(self) -> None:
        """Start the first lap; steps that were prepared but not taken have no part in anything."""
        self._num_due = 0
        self.lap()

    def lap(self) -> tuple[float, float]:
        """Return the seconds since the last call, and how many of them were waiting."""
        now = time.perf_counter()
        lap = now - self._lap_started, self._seconds - self._lap_seconds
        self._lap_started, self._lap_seconds = now, self._seconds
        return lap

    def take_seconds(self) -> float:
        """Return the seconds of waiting since the last call."""
        seconds = self._seconds - self._taken_seconds
        self._taken_seconds = self._seconds
        return seconds

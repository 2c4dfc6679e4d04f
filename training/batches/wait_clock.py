"""How long the training thread waits for batches."""

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
        self._seconds = self._taken_seconds = self._entered_at = 0.0
        self._lap_started = self._lap_seconds = 0.0

    def __enter__(self) -> None:
        self._entered_at = time.perf_counter()
        self._section.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._section.__exit__(*error)
        self._seconds += time.perf_counter() - self._entered_at

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

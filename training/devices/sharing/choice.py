"""Choose how the threads of an operation wait for each other, from how long they waited for cores and how long steps took."""

from __future__ import annotations

from typing import Literal

Way = Literal["spinning", "asleep", "together"]
"""`together`: asleep, and on half of the cores, where they take turns and none waits for one that another program keeps."""

_BUSY, _QUIET = 0.1, 0.03
"""Seconds in a second that threads wait for a core: from the first on they stop to spin, below the second they may again."""
_QUIET_CORES = 0.15
"""Cores that other programs use, below which threads that run together may spin again."""
_FIRST_HOLD_SECONDS, _LONGEST_HOLD_SECONDS = 1.0, 60.0
_PROBE_SECONDS = 2.0


class WayChoice:
    """Whether to spin, from the time that threads wait for cores. It tries again after a quiet time, less and less often.

    While it does not, the faster of the two other ways is found by trials.
    """

    def __init__(self, *, can_gather: bool = False) -> None:
        self.spins = True
        self.is_shared = False
        """Whether others were found to want the cores; unlike `spins` it stays while spinning is tried again."""
        self._hold, self._quiet, self._spun = _FIRST_HOLD_SECONDS, 0.0, 0.0
        self._trials = Trials() if can_gather else None

    @property
    def way(self) -> Way:
        """How threads wait now."""
        if self.spins:
            return "spinning"
        return self._trials.way if self._trials else "asleep"

    @property
    def settled(self) -> Way:
        """How threads wait apart from trials."""
        if not self.is_shared:
            return "spinning"
        return self._trials.settled if self._trials else "asleep"

    def note(self, share: float, seconds: float, others: float = 0.0) -> None:
        """Note that in the last `seconds` the threads waited for cores for `share` of them, added up over threads.

        `others` is how many cores other programs used: it counts where threads wait for each other on the same cores.
        """
        if self.spins:
            self._spun += seconds
            if share >= _BUSY:
                failed = self.is_shared and self._spun <= _PROBE_SECONDS
                self._hold = min(2 * self._hold, _LONGEST_HOLD_SECONDS) if failed else _FIRST_HOLD_SECONDS
                self.spins, self.is_shared, self._quiet = False, True, 0.0
                if self._trials:
                    self._trials.begin()
            elif self._spun > _PROBE_SECONDS:
                self.is_shared = False
            return
        is_quiet = others < _QUIET_CORES if self.way == "together" else share < _QUIET
        self._quiet = self._quiet + seconds if is_quiet else 0.0
        if self._quiet > self._hold - seconds / 2:  # as sums of such numbers are not exact
            self.spins, self._spun = True, 0.0

    def note_step(self, way: Way, seconds: float) -> None:
        """Note how long a step took that was computed in one way."""
        if self._trials and way == self.way != "spinning":
            self._trials.note(seconds)


class Trials:
    """Whether threads are faster asleep or together: both are tried in turn for a moment, and the faster one is held.

    The other is tried again, later and later while it stays slower.
    """

    WINDOW_SECONDS, WINDOW_STEPS = 0.25, 4
    FIRST_HOLD_SECONDS, LONGEST_HOLD_SECONDS = 1.0, 8.0
    GAIN = 0.95
    """Of the time of a step: the other way must take less to be held instead."""

    def __init__(self) -> None:
        self.way: Way = "together"
        self.settled: Way = "together"
        self._stage: Literal["this", "other", "hold"] = "this"
        self._steps, self._seconds = -1, 0.0  # the first step after a change is not counted
        self._pace = 0.0
        self._hold = self.FIRST_HOLD_SECONDS

    def begin(self) -> None:
        """Try both again, from the one that was held."""
        self.way, self._hold = self.settled, self.FIRST_HOLD_SECONDS
        self._enter("this")

    def note(self, seconds: float) -> None:
        """Note a step that was computed in the present way."""
        self._steps += 1
        self._seconds += seconds if self._steps else 0.0
        if self._stage == "hold":
            if self._seconds >= self._hold:
                self._enter("this")
            return
        if self._seconds < self.WINDOW_SECONDS or self._steps < self.WINDOW_STEPS:
            return
        pace = self._seconds / self._steps
        if self._stage == "this":
            self._pace = pace
            self.way = "asleep" if self.way == "together" else "together"
            self._enter("other")
            return
        if pace <= self.GAIN * self._pace:
            self.settled, self._hold = self.way, self.FIRST_HOLD_SECONDS
        else:
            self.way, self._hold = self.settled, min(2 * self._hold, self.LONGEST_HOLD_SECONDS)
        self._enter("hold")

    def _enter(self, stage: Literal["this", "other", "hold"]) -> None:
        self._stage, self._steps, self._seconds = stage, -1, 0.0

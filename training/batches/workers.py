"""How many threads prepare micro-batches: the planned number, and more where the loop waits for data."""

from __future__ import annotations

from collections.abc import Callable

from ..observers.events import Decision

_LEAST_STEPS, _LEAST_SECONDS = 50, 5.0
"""Over which the share of waiting is measured: longer than a short disturbance."""

_TOLERATED_SHARE = 0.05
"""Of the time; below it more threads would gain little."""

_LEAST_GAIN = 0.03
"""Of the time of a step. More threads that gain less only take cores and memory: the number before comes back."""


class WorkerCount:
    """The number of threads: doubled while the loop waits and each doubling makes steps faster, then left alone.

    From 1 with at most 6 it goes 1, 2, 4, 6; where 4 is no faster than 2, it goes 1, 2, 4, 2 and stays. What a micro-batch
    holds is a function of its indices, so the number changes no result, and each rank has its own.
    """

    def __init__(self, planned: int, most: int | None, report: Callable[[Decision], None]) -> None:
        self.count = planned
        self._most = planned if most is None else most
        self._report = report
        self._is_warm = False
        self._steps = 0
        self._seconds = self._waited_seconds = 0.0
        self._before: tuple[int, float] | None = None
        """The number before the last doubling, and the seconds a step took with it."""
        self.is_settled = planned >= self._most
        """Whether it stays as it is for the rest of the run."""

    def stay(self, count: int) -> None:
        """Have this number for the rest of the run."""
        self.count, self.is_settled = count, True

    def note(self, seconds: float, waited_seconds: float) -> bool:
        """Count a step of `seconds`, of which the loop waited `waited_seconds` for data; return whether `count` changed."""
        self._steps += 1
        self._seconds += seconds
        self._waited_seconds += waited_seconds
        if self._steps < _LEAST_STEPS or self._seconds < _LEAST_SECONDS:
            return False
        before = self.count
        # The first steps of a process are slow for other reasons.
        if self._is_warm:
            self._correct(self._seconds / self._steps, self._waited_seconds / self._seconds)
        self._is_warm, self._steps = True, 0
        self._seconds = self._waited_seconds = 0.0
        return self.count != before

    def _correct(self, seconds_per_step: float, share: float) -> None:
        if self._before is not None:
            count, slower_seconds = self._before
            self._before = None
            if seconds_per_step > slower_seconds * (1 - _LEAST_GAIN):
                self.is_settled = True
                self._change(count, share, f"{count} again, as {self.count} made no step faster")
                return
            self.is_settled = self.count >= self._most
        if share > _TOLERATED_SHARE and not self.is_settled:
            self._before = self.count, seconds_per_step
            more = min(self._most, max(1, 2 * self.count))
            self._change(more, share, f"{more} instead of {self.count}")

    def _change(self, count: int, share: float, change: str) -> None:
        before, self.count = self.count, count
        reason = (
            f"threads that prepare micro-batches: {change}; the loop waits for data {100 * share:.0f} % of the time"
        )
        fields = {"num_workers": count, "before": before, "data_wait_share": round(share, 4)}
        self._report(Decision(kind="num_workers", reason=reason, fields=fields))

"""Find the fastest micro-batch size: time sizes in turn, until their times can be told apart."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

_LEAST_TIMINGS, _MOST_TIMINGS = 3, 20
"""Of a size that may be the fastest."""

_AS_FAST = 0.02
"""Times that differ by no more, as a share of the shorter one, count as equal."""

_SLOWER, _TIMINGS_OF_SLOWER = 0.3, 4
"""A size this much slower than the best is out once it was timed so often, or twice with about the same result."""


def fastest_size(
    seconds: Callable[[int], float],
    largest: int,
    *,
    budget_seconds: float,
    average: Callable[[list[float]], list[float]] = list,
    now: Callable[[], float] = time.monotonic,
) -> int:
    """Return the micro-batch size at which a share takes the least time: `largest`, its half, its quarter, ...

    `seconds(size)` computes a share and returns how long it took, infinity if memory ran out. `average` returns the means of
    the ranks' values, the same on all ranks. Small sizes pad less and stay in the caches, large ones use the device better;
    of sizes that are equally fast within the noise the largest is returned. Except for the first, no timing begins after the
    budget, by the clock `now`.
    """
    timings = _Timings(seconds, ends_at=now() + budget_seconds, now=now)
    sizes = _halves(largest)
    timings.take(sizes)
    # A size that one rank did not time, because it is too slow, counts as infinitely slow on all.
    found = average([timings.least(size) for size in sizes] + [timings.uncertainty(size) for size in sizes])
    least, uncertain = found[: len(sizes)], found[len(sizes) :]
    best = min(least)
    if math.isinf(best):
        return 1
    # Other programs only add to a time: the best is not slower than measured, and a larger size may be faster.
    return next(
        size
        for size, taken, doubt in zip(sizes, least, uncertain, strict=True)
        if taken <= best * (1.0 + min(_SLOWER, max(_AS_FAST, doubt)))
    )


def _halves(largest: int) -> list[int]:
    """Return `largest`, its half rounded up, and so on to 1."""
    sizes = [largest]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // 2))
    return sizes


class _Timings:
    """The timings so far, until the budget is used."""

    def __init__(self, seconds: Callable[[int], float], *, ends_at: float, now: Callable[[], float]) -> None:
        self._seconds, self._ends_at, self._now = seconds, ends_at, now
        self._taken: dict[int, list[float]] = {}
        """By size, from the largest down."""

    def least(self, size: int) -> float:
        """Return the shortest time of a size; infinity if it was not timed."""
        return min(self._taken.get(size, ()), default=math.inf)

    def uncertainty(self, size: int) -> float:
        """Return by what fraction the second shortest time of a size is above the shortest, at most 1.

        For a size that was timed once it is the largest of the others.
        """
        if len(self._taken.get(size, ())) < 2:
            return max((_spread(taken) for taken in self._taken.values() if len(taken) > 1), default=1.0)
        return _spread(self._taken[size])

    def take(self, sizes: list[int]) -> None:
        """Time in turn those of `sizes` that may be the fastest, until their times are certain."""
        self._take(sizes[0])
        for number in range(1, _MOST_TIMINGS):
            in_question = [size for size in self._taken if not self._is_out(size)]
            if number > _LEAST_TIMINGS and all(self.uncertainty(size) <= _AS_FAST for size in in_question):
                return
            # Each round begins with another size: the first timing after a pause is not always the same one's.
            first = number % len(in_question)
            for size in in_question[first:] + in_question[:first]:
                if self._is_over():
                    return
                self._take(size)
            for size in sizes[len(self._taken) :]:
                if self._is_over() or self._is_past_best():
                    break
                self._take(size)

    def _take(self, size: int) -> None:
        self._taken.setdefault(size, []).append(self._seconds(size))

    def _excess(self, size: int) -> float:
        """Return by what fraction the shortest time of a size is above the best."""
        best = min(map(self.least, self._taken))
        # On a coarse clock the best may be 0.
        return 0.0 if self.least(size) == best else self.least(size) / max(best, 1e-9) - 1.0

    def _is_past_best(self) -> bool:
        """Return whether the two smallest sizes so far are slower than the best: smaller ones are slower still."""
        smallest = list(self._taken)[-2:]
        return len(smallest) == 2 and all(self._excess(size) > _AS_FAST for size in smallest)

    def _is_out(self, size: int) -> bool:
        """Return whether a size is certainly much slower: a disturbance hardly takes the same time twice."""
        taken = self._taken[size]
        is_certain = len(taken) >= _TIMINGS_OF_SLOWER or (len(taken) > 1 and _spread(taken) <= _SLOWER)
        return is_certain and self._excess(size) > _SLOWER

    def _is_over(self) -> bool:
        return self._now() >= self._ends_at


def _spread(taken: list[float]) -> float:
    """Return by what fraction the second shortest of at least two times is above the shortest, at most 1."""
    shortest, following = sorted(taken)[:2]
    return min(1.0, following / shortest - 1.0) if 0.0 < shortest < math.inf else 0.0

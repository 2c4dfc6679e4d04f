"""How a number went, in a few characters: means over equal parts of a run, drawn as bars."""

from __future__ import annotations

import math

_BARS = "▁▂▃▄▅▆▇█"
_MOST_PARTS = 32


class Trend:
    """Means over equal parts of what was added so far, at most 32 of them, in constant memory."""

    def __init__(self) -> None:
        self._sums: list[float] = []
        self._size = 1
        self._count = 0

    def add(self, value: float) -> None:
        """Add a value; one that is no finite number is left out."""
        if not math.isfinite(value):
            return
        if self._count % self._size == 0:
            if len(self._sums) == _MOST_PARTS:
                self._sums = [one + two for one, two in zip(self._sums[::2], self._sums[1::2], strict=True)]
                self._size *= 2
            self._sums.append(0.0)
        self._sums[-1] += value
        self._count += 1

    @property
    def means(self) -> tuple[float, ...]:
        """Return the means, the oldest first."""
        if not self._sums:
            return ()
        last = self._count - self._size * (len(self._sums) - 1)
        return (*(total / self._size for total in self._sums[:-1]), self._sums[-1] / last)


def sparkline(values: tuple[float, ...], columns: int, scale: tuple[float, float] | None = None) -> str:
    """Return at most `columns` bars from the least to the most of the values, or of `scale`; neighbours are put together.

    >>> sparkline((4.0, 2.0, 1.0), 8)
    '█▃▁'
    """
    while len(values) > columns > 0:
        pairs = [values[start : start + 2] for start in range(0, len(values), 2)]
        values = tuple(sum(pair) / len(pair) for pair in pairs)
    if not values or columns < 1:
        return ""
    low, high = scale or (min(values), max(values))
    factor = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * factor)] for value in values)

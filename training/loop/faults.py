"""Detect bad numbers: which batches to skip follows from losses and norms alone. Pure."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

_LEAST_WINDOW = 20
"""The least number of losses with which a spike is compared."""

_MOST_OVERFLOWS = 30
"""Overflows of the scaled fp16 gradient in a row that are no fault: each halves the scale, and so many make it too small."""

_TO_DEVIATION = 1.4826
"""The median absolute deviation times this estimates the standard deviation of a normal distribution."""


class Position(NamedTuple):
    """A global batch: the epoch of the run and its step in it."""

    epoch: int
    step_in_epoch: int


class FaultDetector:
    """Finds the steps after which training goes back to a checkpoint and skips their batches.

    Those are `patience` steps in a row whose loss or gradient was not finite, or one step whose loss lies more than
    `spike_score` robust standard deviations (median and median absolute deviation) above the `window` losses before it.
    """

    def __init__(self, *, patience: int, spike_score: float | None, window: int = 128) -> None:
        self._patience = patience
        self._spike_score = spike_score
        self._losses: deque[float] = deque(maxlen=window)
        self._bad: list[Position] = []
        self._overflows = 0
        self.furthest: Position | None = None
        """The last of all steps, in the order of the run, whose numbers were good."""

    def observe(self, position: Position, loss: float, *, is_finite: bool, is_overflow: bool = False) -> list[Position]:
        """Note a step; return the positions to skip if it is time to go back, else nothing.

        `is_overflow`: it is not finite only because the scaled gradient was too large for fp16.
        """
        self._overflows = self._overflows + 1 if is_overflow else 0
        if is_overflow and self._overflows <= _MOST_OVERFLOWS:
            return []
        if not is_finite:
            self._bad.append(position)
            return list(self._bad) if len(self._bad) >= self._patience else []
        self._bad.clear()
        if self._is_spike(loss):
            return [position]
        self._losses.append(loss)
        self.furthest = max(position, self.furthest or position)
        return []

    def forget(self, losses: Sequence[float] = ()) -> None:
        """Start again with these losses: none in a new stage, after going back those before the checkpoint."""
        self._bad.clear()
        self._overflows = 0
        self._losses.clear()
        self._losses.extend(map(float, losses))

    @property
    def losses(self) -> list[float]:
        """The losses with which the next one is compared, for a checkpoint; empty if spikes are not looked for."""
        return list(self._losses) if self._spike_score is not None else []

    def _is_spike(self, loss: float) -> bool:
        if self._spike_score is None or len(self._losses) < _LEAST_WINDOW:
            return False
        middle = statistics.median(self._losses)
        deviation = _TO_DEVIATION * statistics.median(abs(one - middle) for one in self._losses)
        # If losses never vary, any change would be a spike: a ten-thousandth of the median counts as no change.
        return loss - middle > self._spike_score * max(deviation, 1e-4 * abs(middle), math.ulp(1.0))

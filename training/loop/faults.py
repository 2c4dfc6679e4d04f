"""Bad numbers: which steps' batches are to be passed over, decided from losses and norms alone. Pure."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

_LEAST_WINDOW = 20
"""Losses that a spike is compared with at least."""

_MOST_OVERFLOWS = 30
"""Overflows of the scaled fp16 gradient in a row that are no fault: each halves the scale, and this many leave none of it."""

_TO_DEVIATION = 1.4826
"""The median absolute deviation times this estimates a normal distribution's standard deviation."""


class Position(NamedTuple):
    """A global batch: the epoch of the run and its step in it."""

    epoch: int
    step_in_epoch: int


class FaultDetector:
    """Finds steps after which training goes back to a checkpoint and passes over their batches.

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
        """Take in a step; return the positions to pass over, if it is time to go back.

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
        """Start afresh: in a new stage, whose losses are others, or after going back, with those before the checkpoint."""
        self._bad.clear()
        self._overflows = 0
        self._losses.clear()
        self._losses.extend(losses)

    @property
    def losses(self) -> list[float]:
        """The losses that the next one is compared with; they belong into a checkpoint where spikes are looked for."""
        return list(self._losses) if self._spike_score is not None else []

    def _is_spike(self, loss: float) -> bool:
        if self._spike_score is None or len(self._losses) < _LEAST_WINDOW:
            return False
        middle = statistics.median(self._losses)
        deviation = _TO_DEVIATION * statistics.median(abs(one - middle) for one in self._losses)
        # Losses that never vary would make any change a spike: a ten-thousandth of the median is no change.
        return loss - middle > self._spike_score * max(deviation, 1e-4 * abs(middle), math.ulp(1.0))

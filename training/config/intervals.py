"""How often something is done: `10min`, `500step`, `1epoch` or `never`, read into one type."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from ..common.errors import UserError, flag_of

_UNITS: dict[str, tuple[Literal["second", "step", "epoch"], float]] = {
    "s": ("second", 1.0),
    "sec": ("second", 1.0),
    "second": ("second", 1.0),
    "min": ("second", 60.0),
    "minute": ("second", 60.0),
    "h": ("second", 3600.0),
    "hour": ("second", 3600.0),
    "step": ("step", 1.0),
    "epoch": ("epoch", 1.0),
}
_UNITS |= {f"{name}s": unit for name, unit in _UNITS.items() if len(name) > 1}


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A length of training."""

    count: float
    unit: Literal["second", "step", "epoch"]

    @classmethod
    def parse(cls, text: str, option: str) -> Interval | None:
        """Return the interval of an option's text such as `10min`; None for `never`. Raises `UserError` for anything else."""
        word = text.strip().lower()
        if word == "never":
            return None
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)", word)
        unit = _UNITS.get(match[2]) if match else None
        if match is None or unit is None or float(match[1]) <= 0:
            what = "is not an interval; give one such as 10min, 500step, 1epoch, or never"
            raise UserError(f"{flag_of(option)}: {text!r} {what}", option=option)
        count = float(match[1]) * unit[1]
        if unit[0] == "step" and not count.is_integer():
            raise UserError(f"{flag_of(option)}: {text!r} is not a whole number of steps", option=option)
        return cls(count=count, unit=unit[0])


class IntervalClock:
    """Decides when an interval is over: seconds are read from a monotonic clock, steps and epochs from the step itself."""

    def __init__(self, interval: Interval | None, steps_per_epoch: int, now: float) -> None:
        self._seconds, self._steps = math.inf, math.inf
        if interval is not None and interval.unit == "second":
            self._seconds = interval.count
        elif interval is not None:
            self._steps = interval.count * (steps_per_epoch if interval.unit == "epoch" else 1)
        self._next_second = now + self._seconds
        self._last_step: int | None = None

    def is_due(self, step: int, now: float) -> bool:
        """Return whether it is time after `step` steps; a time that was missed is not made up for.

        Every half epoch of 5 steps: after 3, 5, 8, 10.
        """
        # Steps are left out where a batch is passed over.
        last = max(0, step - 1) if self._last_step is None else self._last_step
        self._last_step = step
        if now >= self._next_second:
            self._next_second = now + self._seconds
            return True
        return self._intervals(step) > self._intervals(last)

    def _intervals(self, step: int) -> int:
        """Return how many intervals are over after a step, rounded up from just below a whole number."""
        return int(step / self._steps + 1e-9)

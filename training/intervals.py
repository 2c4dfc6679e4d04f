"""How often something is done: `10min`, `500step`, `1epoch` or `never`, read into one type."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from training.errors import UserError

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


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A length of training."""

    count: float
    unit: Literal["second", "step", "epoch"]

    @classmethod
    def parse(cls, text: str, where: str) -> Interval | None:
        """Return the interval of a text such as `10min`; none for `never`. Raises `UserError` for anything else."""
        if text.strip().lower() == "never":
            return None
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+?)s?\s*", text.lower())
        unit = _UNITS.get(match[2]) if match else None
        if match is None or unit is None or float(match[1]) <= 0:
            raise UserError(f"{where}: {text!r} is no interval; give one such as 10min, 500step, 1epoch, or never")
        count = float(match[1]) * unit[1]
        if unit[0] == "step" and not count.is_integer():
            raise UserError(f"{where}: {text!r} is no whole number of steps")
        return cls(count=count, unit=unit[0])


class IntervalClock:
    """Tells when an interval is over: in seconds by a clock, in steps and epochs by the step itself."""

    def __init__(self, interval: Interval | None, now: float) -> None:
        self._interval = interval
        self._next_second = now + (interval.count if interval else 0.0)

    def is_due(self, step: int, steps_per_epoch: int, now: float) -> bool:
        """Return whether it is time after `step` steps; a time that was missed is not made up for."""
        interval = self._interval
        if interval is None:
            return False
        if interval.unit == "second":
            if now < self._next_second:
                return False
            self._next_second = now + interval.count
            return True
        length = interval.count if interval.unit == "step" else interval.count * steps_per_epoch
        # Of half an epoch of 5 steps: after 3, 5, 8, 10.
        return int(step / length) > int((step - 1) / length) if step else False

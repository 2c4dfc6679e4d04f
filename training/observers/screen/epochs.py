"""The epochs of a stage as lines of a table that grows, and the end of a stage in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..events import EpochEnd, StageEnd
from .tables import format_duration, format_metric, plural

_BEST_COLUMNS = len("  best")
_GAP = "  "
_NUMBER_COLUMNS = 7


_PREFIX = "validation "


class EpochTable:
    """The columns that fit a width: losses of training and validation, what is monitored, then the task's other metrics."""

    def __init__(self, validation: Mapping[str, Any], num_epochs: int, monitor: str, width: int) -> None:
        self._num_epochs = num_epochs
        self._digits = max(len(str(num_epochs)), 2)
        names = measured_names(validation, monitor)
        room = width - len(self._start("epoch", "train loss")) - len(self._end("")) - _BEST_COLUMNS - len(_PREFIX)
        kept = []
        for name in sorted(names, key=lambda name: (name != monitor, name != "loss")):
            room -= len(_GAP) + max(len(name), _NUMBER_COLUMNS)
            if room < 0:
                break
            kept.append(name)
        kept.sort(key=names.index)
        words = [name.replace("_", " ") for name in kept]
        headings = [_PREFIX + word if number == 0 else word for number, word in enumerate(words)]
        self._columns = dict(zip(kept, (f"{heading:>{_NUMBER_COLUMNS}}" for heading in headings), strict=True))
        """Headings of the numbers of a validation, as wide as their columns."""

    @property
    def heading(self) -> str:
        """Return the line of names."""
        return (
            self._start("epoch", "train loss") + "".join(map(_GAP.__add__, self._columns.values())) + self._end("time")
        )

    def line(self, event: EpochEnd) -> str:
        """Return the line of an epoch."""
        cells = [
            f"{_GAP}{format_metric(name, event.validation.get(name)):>{len(heading)}}"
            for name, heading in self._columns.items()
        ]
        number = f"{event.epoch_in_stage + 1:>{self._digits}}/{self._num_epochs}"
        return (
            self._start(number, f"{event.train_loss:#.4g}") + "".join(cells) + self._end(format_duration(event.seconds))
        )

    def _start(self, number: str, loss: str) -> str:
        return f"  {number:>{2 * self._digits + 1}}{_GAP}{loss:>10}"

    def _end(self, seconds: str) -> str:
        return f"{_GAP}{seconds:>7}"


def measured_names(validation: Mapping[str, Any], monitor: str) -> list[str]:
    """Return the names of the numbers of a validation: the loss, what is monitored, then the others."""
    numbers = [
        name for name, value in validation.items() if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    return sorted(numbers, key=lambda name: (name != "loss", name != monitor, numbers.index(name)))


def words_of_stage(event: StageEnd, monitor: str) -> str:
    """Return how a stage ended."""
    row = event.row
    parts = [plural(int(row["epochs"]), "epoch") if "epochs" in row else "done"]
    name = "accuracy" if row.get("validation_accuracy") is not None else monitor
    if row.get(f"validation_{name}") is not None:
        parts.append(f"validation {name.replace('_', ' ')} {format_metric(name, row[f'validation_{name}'])}")
    if row.get("best_epoch") is not None:
        parts.append(f"best epoch {row['best_epoch']}")
    if row.get("stopped"):
        parts.append(f"stopped: {row['stopped']}")
    return ", ".join(parts)

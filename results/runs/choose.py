"""Which runs of a list are shown, and in which order: conditions such as `accuracy>0.9`, keys such as `-started`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

from ...training.common.errors import UserError, nearest
from .summary import RunSummary

_OF_RECORDS = {"metrics", "options", "folder"}
FIELDS = [one.name for one in fields(RunSummary) if one.name not in _OF_RECORDS]
SHORT = {
    "run": "name",
    "rate": "samples_per_second",
    "batch": "batch_size",
    "devices": "num_processes",
    "processes": "num_processes",
    "duration": "duration_seconds",
    "time": "duration_seconds",
    "age": "age_seconds",
}
"""Other names of fields."""

_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(r"\s*([^<>=!]+?)\s*(==|!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)
_UNITS = {"s": 1, "sec": 1, "min": 60, "h": 3600, "d": 86400}
_NUMBER = re.compile(r"([-+]?[\d.]+(?:e[-+]?\d+)?)\s*(%|[a-z]*)", re.IGNORECASE)
_QUOTES = "in quotes, as a shell takes > for a file: --where 'accuracy>0.9'"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What must hold for a run to be shown."""

    key: str
    sign: str
    wanted: str

    def holds(self, run: RunSummary) -> bool:
        """Return whether it holds. Raises `UserError` for a value that cannot be compared with the run's."""
        found = value_of(run, self.key)
        if self.sign in ("=", "!="):
            return self._is_equal(found) == (self.sign == "=")
        if found is None:
            return False
        if isinstance(found, bool) or (isinstance(found, str) and plain_key(self.key) != "started"):
            raise UserError(f"{self}: {self.key} is text; compare it by = or !=, with * for any letters")
        if isinstance(found, str):
            return _ORDER[self.sign](found, self.wanted)
        wanted = _read_number(self.wanted)
        if wanted is None:
            raise UserError(f"{self}: {self.key} is a number; {self.wanted!r} is none")
        return _ORDER[self.sign](found, wanted)

    def _is_equal(self, found: Any) -> bool:
        if found is None or self.wanted == "":
            return found in (None, "") and self.wanted in ("", "none")
        if isinstance(found, bool):
            return str(found).lower() == self.wanted.lower()
        if isinstance(found, (int, float)):
            wanted = _read_number(self.wanted)
            return wanted is not None and math.isclose(found, wanted, rel_tol=1e-9)
        return fnmatchcase(found, self.wanted)

    def __str__(self) -> str:
        return f"--where {self.key}{self.sign}{self.wanted}"


def read_condition(text: str) -> Condition:
    """Return the condition in a text: a key, one of = != < <= > >=, and a value. Raises `UserError`."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise UserError(f"--where {text}: give a name, one of = != < <= > >= and a value, {_QUOTES}")
    return Condition(key=found[1], sign=found[2].replace("==", "="), wanted=found[3])


def chosen(runs: Sequence[RunSummary], conditions: Sequence[Condition], patterns: Sequence[str]) -> list[RunSummary]:
    """Return the runs for which all conditions hold, and whose name fits one of the patterns if there are any."""
    for condition in conditions:
        check_key(condition.key, runs, "--where")
    return [
        run
        for run in runs
        if all(one.holds(run) for one in conditions)
        and (not patterns or any(fnmatchcase(run.name, pattern) for pattern in patterns))
    ]


def in_order(runs: Sequence[RunSummary], sort: str | None) -> list[RunSummary]:
    """Return runs by a key, the lowest first, or of `-key` the highest; those without it are the last, and ties stay."""
    if sort is None:
        return list(runs)
    key = sort.removeprefix("-")
    check_key(key, runs, "--sort")
    with_value = [run for run in runs if value_of(run, key) is not None]
    with_value.sort(key=lambda run: _place(value_of(run, key)), reverse=sort.startswith("-"))
    return [*with_value, *(run for run in runs if value_of(run, key) is None)]


def plain_key(key: str) -> str:
    """Return the name under which a value is kept: `rate` is `samples_per_second`, `--batch-rule` `batch_rule`."""
    plain = key.strip().lstrip("-").replace("-", "_").replace(" ", "_")
    return SHORT.get(plain, plain)


def value_of(run: RunSummary, key: str) -> Any:
    """Return a value of a run: a field, a metric, with or without the name of its split, or an option; None if it has none."""
    plain = plain_key(key)
    if plain in FIELDS:
        return getattr(run, plain)
    metric = metric_of(run, plain)
    return run.options.get(plain) if metric is None else run.metrics[metric]


def metric_of(run: RunSummary, key: str) -> str | None:
    """Return the name of a run's metric, which may be asked for without its split: the test's, else the validation's."""
    names = (key, f"test_{key}", f"mean_test_{key}", f"validation_{key}")
    return next((name for name in names if name in run.metrics), None)


def check_key(key: str, runs: Sequence[RunSummary], option: str) -> None:
    """Raise `UserError` if no run could have a value of this name."""
    plain = plain_key(key)
    metrics = {re.sub("^(mean_)?(test|validation)_", "", name) for run in runs for name in run.metrics}
    options = {name for run in runs for name in run.options}
    if not runs or plain in FIELDS or plain in options or any(metric_of(run, plain) for run in runs):
        return
    usual = ["name", "state", "started", "age", "duration", "rate", "batch", "devices", "step", "parent"]
    known = [*usual, *sorted(metrics)]
    hint = nearest(key, [*known, *FIELDS, *sorted(options)])
    raise UserError(f"{option} {key}: no run has it{hint}; there are {', '.join(known)}, and the options of a training")


def _place(value: Any) -> tuple[Any, ...]:
    """Return where a value stands among others: numbers before text, and numbers in text by their size."""
    if isinstance(value, (int, float)):
        return (0, value)
    parts = re.split(r"(\d{1,18})", str(value))
    return (1, [(int(part), "") if number % 2 else (0, part) for number, part in enumerate(parts)])


def _read_number(text: str) -> float | None:
    """Return the number in `0.9`, `90%`, `1e-3` or `10min` (in seconds); None if it is none."""
    found = _NUMBER.fullmatch(text.strip())
    if found is None or (found[2] and found[2] != "%" and found[2].lower() not in _UNITS):
        return None
    try:
        return float(found[1]) * (0.01 if found[2] == "%" else _UNITS.get(found[2].lower(), 1))
    except ValueError:
        return None

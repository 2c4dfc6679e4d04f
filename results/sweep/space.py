"""What a sweep tries: options of `slipway train`, each with its values or its range."""

from __future__ import annotations

import dataclasses
import os
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...training.common.conversion import choices_of, convert, field_types
from ...training.common.errors import UserError, flag_of, nearest
from ...training.run.cli import parse_config
from ...training.run.training_config import TrainingConfig

Value = str | int | float | bool

_OF_TASK = "task_options."
_TRUTH = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
_MOST_CHECKED = 64
"""Whole numbers of a range that are all checked before anything starts."""
_NOT_COMPARED = {
    "seed": "it would choose the luckiest seed",
    "seeds": "a trial is a single run",
    "monitor": "trials are compared by one metric",
    "final_fit": "it leaves no validation to compare trials by",
    "task": "trials are of one task",
    "task_options": f"name one of them, such as {_OF_TASK}width=16,32",
    "quick_test": "it changes how long trials train",
    **dict.fromkeys(("folds", "fold", "leave_out", "held_out", "min_clips"), "trials are compared on the same clips"),
}
USUAL = ("learning_rate", "dropout", "model_width", "augment")
USUAL_OF_TASK = ("learning_rate", "weight_decay")
"""What is tried where nothing is named: of sign recognition, and of any other task."""


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """An option and what it may be: one of some values, or a number of a range with both its ends."""

    name: str
    """As in a config; `task_options.NAME` for an option of a task."""
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    is_log: bool = False
    is_whole: bool = False

    def text(self, value: Any) -> str:
        """Return a value as it is shown and handed to the training."""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, float):
            return f"{value:.6g}" if self.choices else f"{value:.3g}"
        return str(value)

    def words(self, value: Any) -> list[str]:
        """Return the words of a command line that set a value."""
        if self.name.startswith(_OF_TASK):
            return ["--task-options", f"{self.name.removeprefix(_OF_TASK)}={self.text(value)}"]
        flag = flag_of(self.name)
        if isinstance(value, bool):
            return [flag if value else f"--no-{flag[2:]}"]
        text = self.text(value)
        return [f"{flag}={text}"] if text.startswith("-") else [flag, text]

    def described(self) -> str:
        """Return what is tried, as it may be given again."""
        if self.choices:
            return ",".join(map(self.text, self.choices))
        kind = ":log" if self.is_log else f":{self.step:g}" if self.step is not None else ""
        return f"{self.low:g}:{self.high:g}{kind}"

    def holds(self, value: Any) -> bool:
        """Return whether a value is one of those that are tried."""
        if self.choices:
            return value in self.choices
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return (
            is_number and self.low <= value <= self.high and (self.step is None or (value - self.low) % self.step == 0)
        )

    def checked(self) -> Iterator[Value]:
        """Yield the values that have to be right before anything starts: all of a few, or the ends of a range."""
        if self.choices:
            yield from self.choices
            return
        step = self.step or 1
        if self.is_whole and (self.high - self.low) / step <= _MOST_CHECKED:
            yield from range(int(self.low), int(self.high) + 1, int(step))
        else:
            yield from (int(one) if self.is_whole else one for one in (self.low, self.high))


def read_space(words: Sequence[str], rest: Sequence[str], config: TrainingConfig) -> tuple[Dimension, ...]:
    """Return what `--sweep` asks for; `rest` are the words of the training, `config` is what they mean.

    Raises `UserError` for a name that is no option, an option that no trials are compared by, and a value that the option
    does not take.
    """
    is_sign = config.task in (None, "sign")
    found = [_read(word, config, is_sign) for word in words or (USUAL if is_sign else USUAL_OF_TASK)]
    names = [one.name for one in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"--sweep {twice}: named twice; give it once, with all its values")
    for one in found:
        for value in one.checked():
            try:
                tried = parse_config([*without(rest, [one]), *one.words(value)], os.environ)
                if is_sign:
                    tried.make_recipe()
            except UserError as error:
                raise UserError(f"--sweep {one.name}={one.described()}: {error}") from None
    return tuple(found)


def given_values(space: Sequence[Dimension], config: TrainingConfig) -> Mapping[str, Value]:
    """Return what the command itself sets for the options that are tried, where that is among what is tried."""
    stages = config.make_recipe().stages if config.task in (None, "sign") else ()
    values: dict[str, Any] = {}
    for one in space:
        value = (config.task_options or {}).get(one.name.removeprefix(_OF_TASK), getattr(config, one.name, None))
        if one.name in ("dropout", "weight_decay") and value is None and stages:
            value = getattr(stages[0].options if one.name == "dropout" else stages[0], one.name)
        if one.name == "augment" and value is None:
            value = True
        if one.holds(value):
            values[one.name] = value
    return values


def without(rest: Sequence[str], space: Sequence[Dimension]) -> list[str]:
    """Return the words of a training without those that set what is tried."""
    flags = {form for one in space for form in (flag_of(one.name), f"--no-{flag_of(one.name)[2:]}")}
    of_task = tuple(f"{one.name.removeprefix(_OF_TASK)}=" for one in space if one.name.startswith(_OF_TASK))
    groups: list[list[str]] = [[]]
    for word in rest:
        if word.startswith("--"):
            groups.append([])
        groups[-1].append(word)
    kept: list[str] = []
    for group in groups:
        flag = group[0].partition("=")[0] if group else ""
        if flag == "--task-options" and of_task:
            values = [one.removeprefix("--task-options=") for one in group if one != "--task-options"]
            values = [one for one in values if not one.startswith(of_task)]
            group = ["--task-options", *values] if values else []
        if flag not in flags:
            kept += group
    return kept


def _read(word: str, config: TrainingConfig, is_sign: bool) -> Dimension:
    given, has_values, text = word.partition("=")
    name = given.strip().lstrip("-").replace("-", "_")
    kind = _kind_of(given, name, is_sign)
    if not has_values:
        text = _usual_values(name, config)
    if ":" in text:
        return _range(name, text, kind)
    values = tuple(dict.fromkeys(_value(name, one.strip(), kind) for one in text.split(",") if one.strip()))
    if len(values) < 2:
        raise UserError(
            f"--sweep {word}: one value is nothing to compare; give several, {name}=A,B, or a range, {name}=LOW:HIGH"
        )
    return Dimension(name=name, choices=values)


def _kind_of(given: str, name: str, is_sign: bool) -> Any:
    """Return the type of an option that may be tried; `Any` for one of a task. Raises `UserError`."""
    if name.startswith(_OF_TASK):
        if is_sign:
            raise UserError(f"--sweep {given}: for a task that --task names; sign recognition has options of its own")
        return Any
    types = field_types(TrainingConfig)
    if name not in types:
        known = [one for one in types if _why_not(one, types[one]) is None]
        raise UserError(
            f"--sweep {given}: no such option{nearest(name, known)}; `slipway train --help` lists the options"
        )
    if (why := _why_not(name, types[name])) is not None:
        raise UserError(f"--sweep {given}: {why}; try another option, such as learning_rate=1e-4:1e-2:log")
    return types[name]


def _why_not(name: str, kind: Any) -> str | None:
    group = next(one for one in dataclasses.fields(TrainingConfig) if one.name == name).metadata["group"]
    if name in _NOT_COMPARED:
        return _NOT_COMPARED[name]
    if not group.decides_weights:
        return "it does not decide what is learned, so that trials would not differ"
    if group.title.endswith("its data"):
        return "trials are compared on the same data"
    if any(typing.get_origin(one) in (tuple, dict) for one in (kind, *typing.get_args(kind))):
        return "it takes several values at once"
    return None


def _usual_values(name: str, config: TrainingConfig) -> str:
    """Return what is tried of an option for which nothing is given."""
    usual = {
        "learning_rate": f"{config.learning_rate / 10:.3g}:{config.learning_rate * 10:.3g}:log",
        "dropout": "0,0.1,0.2,0.4",
        "model_width": "64,96,128",
        "augment": "yes,no",
        "weight_decay": "1e-4:0.3:log",
        "batch_size": "16,32,64",
    }
    if name not in usual:
        raise UserError(f"--sweep {name}: say what to try, {name}=A,B or {name}=LOW:HIGH or {name}=LOW:HIGH:log")
    return usual[name]


def _range(name: str, text: str, kind: Any) -> Dimension:
    where = f"--sweep {name}={text}"
    ends = text.split(":")
    if len(ends) > 3 or not all(one.strip() for one in ends):
        raise UserError(f"{where}: a range is LOW:HIGH, LOW:HIGH:log or LOW:HIGH:STEP")
    kinds = (kind, *typing.get_args(kind))
    if kind is not Any and (choices_of(kind) or not {int, float} & set(kinds)):
        raise UserError(f"{where}: {name} is not a number; give its values, {name}=A,B")
    low, high = (_value(name, one.strip(), kind) for one in ends[:2])
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
        raise UserError(f"{where}: a range is between two numbers")
    if not low < high:
        raise UserError(f"{where}: the range is empty: {low} is not below {high}; give the smaller number first")
    is_whole = isinstance(low, int) and isinstance(high, int)
    is_log, step = ends[2:] == ["log"], None
    if is_log and low <= 0:
        raise UserError(f"{where}: a range on a log scale begins above 0; leave :log out, or begin at 1e-6")
    if len(ends) == 3 and not is_log:
        step = float(_value(name, ends[2].strip(), int if is_whole else float))
        if not 0 < step <= high - low:
            raise UserError(f"{where}: the step must be above 0 and at most {high - low:g}, or the word log")
        # The last of the steps that are within.
        high = low + int((high - low) / step + 1e-9) * step
    return Dimension(name=name, low=low, high=high, step=step, is_log=is_log, is_whole=is_whole)


def _value(name: str, text: str, kind: Any) -> Value:
    if kind is Any:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        for number, form in ((int, r"[+-]?\d{1,18}"), (float, r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?")):
            if re.fullmatch(form, text, re.IGNORECASE):
                return number(text)
        return text
    if bool in (kind, *typing.get_args(kind)) and text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    value: Value = convert(text, kind, f"--sweep {name}={text}")
    return value

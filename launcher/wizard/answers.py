"""The answers to the wizard: read from flags and from a file, written as flags and to a file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from ...training.common.conversion import field_types
from ...training.common.errors import UserError, flag_of
from ...training.common.settings import SettingsReader, mapping_of, read_yaml
from ..plan.records import Intent
from ..plan.settings import AUTOMATIC, intent_types

_SCALES = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_MOST_PROCESSES = 1 << 16
_MOST_DIGITS = 20  # a typing error such as 7e99 must not make a number of a hundred digits


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers of a person; None takes the recommendation."""

    intent: Intent = field(default_factory=Intent)
    out: str | None = None
    script: str | None = None  # with its arguments, as a shell splits them
    write: bool | None = None
    self_test: bool | None = None
    launch: bool | None = None


# The keys of answers beside the fields of `Intent`. They are also flags of the wizard.
ACTIONS = tuple(one.name for one in dataclasses.fields(Answers) if one.name != "intent")


def value_of(answers: Answers, name: str) -> Any:
    """Return the answer with a key: a field of `Intent` or an action."""
    return getattr(answers if name in ACTIONS else answers.intent, name)


def with_answer(answers: Answers, name: str, value: Any) -> Answers:
    """Return the answers with one more; the value None takes the recommendation."""
    if name in ACTIONS:
        return dataclasses.replace(answers, **{name: value})
    return dataclasses.replace(answers, intent=dataclasses.replace(answers.intent, **{name: value}))


def given_answers(answers: Answers) -> dict[str, Any]:
    """Return the answers that are given, by key."""
    names = (*Intent.__dataclass_fields__, *ACTIONS)
    return {name: value for name in names if (value := value_of(answers, name)) is not None}


def parse_count(text: str) -> int:
    """Return the integer of text such as `300000`, `7e9` or `7B`. Raises `UserError`."""
    plain = text.strip().lower().replace(",", "")
    scale = _SCALES.get(plain[-1:], 1)
    try:
        value = Decimal(plain[:-1] if plain[-1:] in _SCALES else plain) * scale
    except InvalidOperation:
        raise UserError(f"{text!r} is not a number; write it like 300000, 7e9 or 7B") from None
    if not value.is_finite() or value.adjusted() > _MOST_DIGITS or value != int(value):
        raise UserError(f"{text!r} is not a whole number that a model can have")
    return int(value)


def parse_integer(text: str) -> int:
    """Return the integer of a text. Raises `UserError`."""
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{text!r} is not a whole number") from None


def parse_world_count(text: str) -> int:
    """Return a number of processes or machines. Raises `UserError` for one so large that no plan can hold its processes."""
    value = parse_integer(text)
    if value > _MOST_PROCESSES:
        raise UserError(f"{text!r} is more than a launch can have")
    return value


def read_answers(path: str) -> dict[str, Any]:
    """Return the answers in a YAML file by key, without those left to the plan.

    Raises `UserError` for what is not YAML, an unknown key, a wrong value.
    """
    place = f"--answers {path}"
    data = mapping_of(read_yaml(Path(path), place), place)
    if isinstance(count := data.get("parameters"), str | float):
        try:
            data["parameters"] = parse_count(str(count))  # YAML reads 7e9 as text
        except UserError as error:
            raise UserError(f"{place}: parameters: {error}") from None
    actions = {name: hint for name, hint in field_types(Answers).items() if name in ACTIONS}
    reader = SettingsReader(section="", types={**intent_types(), **actions})
    level = reader.read_mapping(data, place, "--config", place)
    return {name: one.value for name, one in level.items() if one.value not in (None, "auto")}


def to_yaml(answers: Answers) -> str:
    """Return the answers as YAML text for `read_answers`; accepted recommendations are left out."""
    import yaml

    data = {name: list(value) if isinstance(value, tuple) else value for name, value in given_answers(answers).items()}
    heading = "# Answers for `slipway wizard --answers FILE`. What is not here follows the recommendation.\n"
    return heading + (yaml.safe_dump(data, sort_keys=False) if data else "")


def save_answers(path: str, answers: Answers) -> None:
    """Write the answers to a file, completely or not at all. Raises `UserError`."""
    from ..plan.config_command import drafted

    with drafted(Path(path)) as draft:
        draft.write_text(to_yaml(answers), encoding="utf-8")


def to_plan_options(intent: Intent) -> list[str]:
    """Return the options of `slipway plan`, `config`, `launch` and `doctor` with the same meaning."""
    flags: list[str] = []
    for name in Intent.__dataclass_fields__:
        value, flag, setting = getattr(intent, name), flag_of(name), intent.setting(name)
        if setting and setting.origin == "--config" and intent.sections():
            flags = list(
                dict.fromkeys(("--config", setting.place.removeprefix("--config "), *flags))
            )  # it says more than options can
        elif isinstance(value, bool):
            flags.append(flag if value else flag.replace("--", "--no-", 1))
        elif value is not None:
            flags += [flag, ",".join(str(part) for part in value) if isinstance(value, tuple) else str(value)]
        elif setting and name in AUTOMATIC:
            flags += [flag, "auto"]  # said against a settings file, which would win otherwise
    return flags

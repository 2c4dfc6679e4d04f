"""What is fixed, merged by precedence: user file < project file < environment < --config < flags. See docs/settings.md."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from ...training.common.errors import UserError, flag_of, nearest
from ...training.common.settings_files import format_path, project_file, user_file
from ..common.records import from_data
from .records import Intent, MergedIntent, Origin, Setting

ENVIRONMENT_PREFIX = "SLIPWAY_"
_AUTOMATIC = ("device", "mixed_precision", "micro_batch_size")  # they take `auto`, as the training's do
_SECTIONS = ("launch", "train")
_ACCELERATE_KEYS = ("compute_environment", "distributed_type")
_SET_EACH_OTHER = (("micro_batch_size", "gradient_accumulation"),)

Layer = dict[str, Setting]


def read_intent(
    flags: Mapping[str, Any], config: str | None, environment: Mapping[str, str], folder: Path | None = None
) -> MergedIntent:
    """Return what all levels fix together, with where each value comes from.

    `flags` holds typed values by field, `config` is the file of `--config`, `folder` the working folder unless given.
    Raises `UserError` that names the file and key, or the variable.
    """
    layers = [
        _of_file(user_file(environment), "user file"),
        _of_file(project_file(folder, environment), "project file"),
        _of_environment(environment),
        _of_config(config),
        {
            name: Setting(value=None if _is_auto(name, value) else value, origin="flag")
            for name, value in flags.items()
            if value is not None
        },
    ]
    merged: Layer = {}
    for layer in layers:
        _put_over(merged, layer)
    return MergedIntent(**{name: setting.value for name, setting in merged.items()}, settings=merged)


@cache
def intent_types() -> dict[str, Any]:
    """Return the type of each field that a person can fix; each is optional."""
    hints = typing.get_type_hints(Intent)
    return {name: next(part for part in get_args(hint) if part is not type(None)) for name, hint in hints.items()}


def _put_over(merged: Layer, layer: Layer) -> None:
    """Put a stronger level over the weaker ones; what it fixes drops what they say of the other of a pair."""
    for pair in _SET_EACH_OTHER:
        given = [name for name in pair if name in layer and layer[name].value is not None]
        if len(given) == len(pair):
            place = layer[pair[0]].place
            flags = " and ".join(map(flag_of, pair))
            raise UserError(f"{place}{': ' if place else ''}{flags} set each other: give one of them", option=pair[0])
        if given:
            for name in pair:
                merged.pop(name, None)
    merged.update(layer)


def _of_environment(environment: Mapping[str, str]) -> Layer:
    found: Layer = {}
    for name in intent_types():
        variable = ENVIRONMENT_PREFIX + name.upper()
        if environment.get(variable):
            value = _checked(name, environment[variable], "environment", variable)
            found[name] = Setting(value=value, origin="environment", place=variable)
    return found


def _of_file(path: Path | None, origin: Origin) -> Layer:
    if path is None:
        return {}
    where = format_path(path)
    data = _mapping(_yaml_of(path, where), where)
    return _of_mapping(_section(data, where), "launch.", where, origin, where)


def _of_config(name: str | None) -> Layer:
    """Return what the file of `--config` fixes: flat fields, the sections of a settings file, or an Accelerate config."""
    if name is None:
        return {}
    place = f"--config {name}"
    data = _mapping(_yaml_of(Path(name), place), place)
    if any(key in data for key in _ACCELERATE_KEYS):
        from .accelerate_config import intent_from_yaml

        intent = intent_from_yaml(Path(name).read_text(encoding="utf-8"), place)
        values = {name: getattr(intent, name) for name in intent_types()}
        return {
            name: Setting(value=value, origin="--config", place=place)
            for name, value in values.items()
            if value is not None
        }
    if any(key in data for key in _SECTIONS):
        return _of_mapping(_section(data, place), "launch.", place, "--config", place)
    return _of_mapping(data, "", place, "--config", place)


def _section(data: dict[Any, Any], where: str) -> dict[Any, Any]:
    for key in data:
        if key not in _SECTIONS:
            raise UserError(
                f"{where}: unknown section {key!r}{nearest(str(key), _SECTIONS)}; there are launch and train"
            )
    return _mapping(data.get("launch"), f"{where}: launch")


def _of_mapping(data: dict[Any, Any], prefix: str, where: str, origin: Origin, place: str) -> Layer:
    for key in data:
        if key not in intent_types():
            known = (*intent_types(), *(() if prefix else _SECTIONS))
            raise UserError(f"{where}: unknown key {prefix + str(key)!r}{nearest(str(key), known)}")
    return {
        key: Setting(value=_checked(key, value, where, prefix + key), origin=origin, place=place)
        for key, value in data.items()
    }


def _yaml_of(path: Path, where: str) -> Any:
    import yaml  # only where there is a file: a plan is made in less time than this import takes

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{where}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{where}: not readable YAML: {' '.join(str(error).split())}") from None


def _mapping(data: Any, where: str) -> dict[Any, Any]:
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(f"{where}: expected keys and values, got {str(data)[:40]!r}")
    return data


def _checked(name: str, value: Any, where: str, path: str) -> Any:
    """Return a value of a file or the environment as its field's type, None where the plan shall choose."""
    kind = intent_types()[name]
    if value is None or _is_auto(name, value):
        return None
    if value is False and "no" in get_args(kind):
        value = "no"  # what YAML makes of an unquoted no
    if isinstance(value, str) or (isinstance(value, float) and kind is int):
        with suppress(ValueError):
            value = reader(name)(str(value))
    value = list(value) if isinstance(value, tuple) else value
    if get_origin(kind) is Literal and value not in get_args(kind):
        known = choices_of(name)
        raise UserError(f"{where}: {path} is {value!r}, none of {', '.join(known)}{nearest(str(value), known)}")
    return from_data(kind, value, where, path)


def choices_of(name: str) -> tuple[str, ...]:
    """Return the words that a field takes, or nothing where it takes other values."""
    kind = intent_types()[name]
    return (*(("auto",) if name in _AUTOMATIC else ()), *get_args(kind)) if get_origin(kind) is Literal else ()


def _is_auto(name: str, value: Any) -> bool:
    return name in _AUTOMATIC and value == "auto"


def reader(name: str) -> Callable[[str], Any]:
    """Return what reads a field's value from text; it raises `ValueError`."""
    kind = intent_types()[name]
    if name == "parameters":
        return _count
    if name in _AUTOMATIC and kind is int:
        return _whole_or_auto
    if get_origin(kind) is tuple:
        return _weights
    if kind is bool:
        return _truth
    return int if kind is int else str


def _count(text: str) -> int:
    """Return a whole number; `7e9` is one."""
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if not value.is_integer():
            raise ValueError(f"{text!r} is not a whole number") from None
        return int(value)


def _whole_or_auto(text: str) -> int | str:
    return text if text == "auto" else int(text)


def _weights(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _truth(text: str) -> bool:
    try:
        return {
            "true": True,
            "yes": True,
            "1": True,
            "on": True,
            "false": False,
            "no": False,
            "0": False,
            "off": False,
        }[text.lower()]
    except KeyError:
        raise ValueError(text) from None


# As argparse names a wrong value.
_count.__name__, _weights.__name__, _whole_or_auto.__name__ = "number of parameters", "list of weights", "whole number"

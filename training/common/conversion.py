"""Conversion between frozen dataclasses and plain values (JSON, YAML, command line, environment), every key checked."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import shlex
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin

from .errors import UserError, nearest

T = TypeVar("T")


def field_types(cls: type) -> dict[str, Any]:
    """Return the resolved type of each field of a dataclass."""
    return _field_types(cls)


@cache
def _field_types(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def choices_of(annotation: Any) -> tuple[Any, ...]:
    """Return the values that a type made of `Literal` and None alone admits beside None, else an empty tuple."""
    if get_origin(annotation) is typing.Literal:
        return get_args(annotation)
    if get_origin(annotation) not in (Union, types.UnionType):
        return ()
    choices = [choices_of(part) for part in get_args(annotation) if part is not type(None)]
    return tuple(itertools.chain(*choices)) if all(choices) else ()


def from_mapping(cls: type[T], mapping: Mapping[str, Any], where: str, path: str = "") -> T:
    """Build a dataclass from a mapping, checking every key and value.

    `where` (a file, a flag) begins the message of a `UserError`, and `path` (of keys in it) stands before each key. It
    names the key and the nearest right one.
    """
    if not isinstance(mapping, Mapping):
        raise _wrong(where, path, "keys and values", mapping)
    known = field_types(cls)
    inside = f"{path}." if path else ""
    for key in mapping:
        if key not in known:
            raise UserError(f"{where}: unknown key {f'{inside}{key}'!r}{nearest(str(key), known)}")
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        is_needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if is_needed and field.name not in mapping:
            raise UserError(f"{where}: missing key {f'{inside}{field.name}'!r}")
    return cls(**{key: convert(value, known[key], where, f"{inside}{key}") for key, value in mapping.items()})


def convert(value: Any, annotation: Any, where: str, path: str = "") -> Any:
    """Return `value` as the annotated type; text and numbers may stand for each other, as they do in variables and YAML.

    Raises `UserError` that says what was expected, see `from_mapping`.
    """
    if annotation is Any:
        return value
    origin, arguments = get_origin(annotation), get_args(annotation)
    if value is None and type(None) in arguments:
        return None
    if choices := choices_of(annotation):
        if value not in choices:
            hint = nearest(str(value), map(str, choices))
            raise UserError(f"{_place(where, path)}: {value!r} is none of {', '.join(map(str, choices))}{hint}")
        return value
    if origin in (Union, types.UnionType):
        if any(value in choices_of(part) for part in arguments):
            return value
        kinds = [part for part in arguments if part is not type(None) and not choices_of(part)]
        return convert(value, kinds[0], where, path)
    if origin is tuple:
        return _convert_tuple(value, arguments, where, path)
    if origin is dict:
        if isinstance(value, (str, list, tuple)):
            value = _named_values(shlex.split(value) if isinstance(value, str) else value, where, path)
        if not isinstance(value, Mapping):
            raise _wrong(where, path, "keys and values", value)
        return {str(key): convert(item, arguments[1], where, f"{path}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(annotation):
        kind = typing.cast(type, annotation)
        return value if isinstance(value, kind) else from_mapping(kind, value, where, path)
    return _convert_scalar(value, annotation, where, path)


_MOST = 10**12
"""Of any count: a number beyond it is a slip, not a wish for no limit."""
_MOST_OF = {
    **dict.fromkeys(("threads", "threads_per_process", "num_workers"), 1024),
    "seeds": 10_000,
    "seed": 2**63 - 1,
    "parameters": 10**18,
}
"""OpenMP ends a process that asks for more threads than it gets; each worker is a process, and each of `seeds` a run."""


def problem_of_count(name: str, value: object, least: int) -> str | None:
    """Return what is wrong with the whole number that an option has, if it is one; None: nothing."""
    most = _MOST_OF.get(name, _MOST)
    if not isinstance(value, int) or least <= value <= most:
        return None
    return f"must be at {f'least {least}' if value < least else f'most {most:,}'}, got {value}"


def whole_number(values: Mapping[str, Any], name: str, least: int = 0) -> int:
    """Return the whole number of this name that a program wrote down. Raises `ValueError` for anything else."""
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 62:
        raise ValueError(f"{name} is {str(value)[:40]!r}, not a whole number from {least} on")
    return value


def finite_number(values: Mapping[str, Any], name: str) -> float:
    """Return the number of this name that a program wrote down. Raises `ValueError` for anything else."""
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name} is {str(value)[:40]!r}, not a number")
    return float(value)


def plain_values(value: Any, name: str, non_finite: list[str]) -> Any:
    """Return a value in JSON's types; the dotted names of what is not finite are added to `non_finite`."""
    if isinstance(value, float) and not math.isfinite(value):
        non_finite.append(name)
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        prefix = f"{name}." if name else ""
        return {str(key): plain_values(item, f"{prefix}{key}", non_finite) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(item, f"{name}.{position}", non_finite) for position, item in enumerate(value)]
    if hasattr(value, "tolist"):  # numpy and torch, scalars too
        return plain_values(value.tolist(), name, non_finite)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain_values(dataclasses.asdict(value), name, non_finite)
    return str(value)


def _named_values(words: Sequence[Any], where: str, path: str) -> dict[str, str]:
    """Return what words `name=value` say."""
    found: dict[str, str] = {}
    for word in words:
        name, is_given, value = str(word).partition("=")
        if not is_given or not name or name in found:
            what = f"{name} is given twice" if name in found else f"{word!r} is not NAME=VALUE, such as width=64"
            raise UserError(f"{_place(where, path)}: {what}")
        found[name] = value
    return found


def _convert_tuple(value: Any, arguments: tuple[Any, ...], where: str, path: str) -> tuple[Any, ...]:
    items = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    length = None if arguments[-1] is Ellipsis else len(arguments)
    if not isinstance(items, list | tuple) or length not in (None, len(items)):
        raise _wrong(where, path, "a list" if length is None else f"a list of {length}", value)
    kinds = [arguments[0]] * len(items) if length is None else arguments
    return tuple(
        convert(item, kind, where, f"{path}[{number}]")
        for number, (item, kind) in enumerate(zip(items, kinds, strict=True))
    )


def _convert_scalar(value: Any, kind: type, where: str, path: str) -> Any:
    try:
        if kind is bool:
            return value if isinstance(value, bool) else _BOOLEANS[str(value).lower()]
        if isinstance(value, bool):
            raise ValueError
        if kind is int:
            return _whole_number(value)
        if kind is float:
            # No option means anything as NaN or without end.
            if not math.isfinite(float(value)):
                raise ValueError
            return float(value)
        if kind is str and isinstance(value, str | int | float | os.PathLike):
            return str(value)
    except (ValueError, TypeError, KeyError, OverflowError):
        pass
    expected = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
    raise _wrong(where, path, expected, value)


def _whole_number(value: Any) -> int:
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        return int(value)
    # 1e3 is a whole number too; 1.5 is not.
    number = float(value)
    if number != int(number):
        raise ValueError
    return value if isinstance(value, int) else int(number)


_BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False, "on": True, "off": False}


def _place(where: str, path: str) -> str:
    return f"{where}{'' if path.startswith('[') else ': '}{path}" if path else where


def _wrong(where: str, path: str, expected: str, value: Any) -> UserError:
    shown = "nothing" if value is None else f"{value!r}"[:60]
    return UserError(f"{_place(where, path)}: expected {expected}, got {shown}")

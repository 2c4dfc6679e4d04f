"""Strict conversion between frozen dataclasses and plain mappings (JSON, YAML, command line, environment)."""

from __future__ import annotations

import dataclasses
import math
import os
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin

from .errors import UserError, nearest

T = TypeVar("T")


@cache
def field_types(cls: type) -> dict[str, Any]:
    """Return the resolved type of each field of a dataclass."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def choices_of(annotation: Any) -> tuple[Any, ...]:
    """Return the values a `Literal` (or an optional one) admits, or an empty tuple."""
    if get_origin(annotation) is typing.Literal:
        return get_args(annotation)
    parts = [part for part in get_args(annotation) if part is not type(None)]
    return choices_of(parts[0]) if len(parts) == 1 else ()


def from_mapping(cls: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Build a dataclass from a mapping, checking every key and value.

    Raises `UserError` that names the place, the key and the nearest right one.
    """
    if not isinstance(mapping, Mapping):
        raise UserError(f"{where}: expected keys and values, got {_kind(mapping)}")
    known = field_types(cls)  # type: ignore[arg-type]  # a type is hashable
    for key in mapping:
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}{nearest(str(key), known)}")
    values = {key: convert(value, known[key], f"{where}: {key}") for key, value in mapping.items()}
    missing = [
        field.name
        for field in dataclasses.fields(cls)  # type: ignore[arg-type]
        if field.name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UserError(f"{where}: missing {', '.join(missing)}")
    return cls(**values)


def convert(value: Any, annotation: Any, where: str) -> Any:
    """Return `value` as the annotated type, or raise `UserError` saying what was expected."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Literal:
        if value not in arguments:
            hint = nearest(str(value), map(str, arguments))
            raise UserError(f"{where}: {value!r} is none of {', '.join(map(str, arguments))}{hint}")
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        if any(value in get_args(part) for part in arguments if get_origin(part) is typing.Literal):
            return value
        return convert(value, next(part for part in arguments if part is not type(None)), where)
    if origin is tuple:
        return _convert_tuple(value, arguments, where)
    if dataclasses.is_dataclass(annotation):
        if isinstance(value, typing.cast(type, annotation)):
            return value
        return from_mapping(typing.cast(type, annotation), value, where)
    return _convert_scalar(value, annotation, where)


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


def _convert_tuple(value: Any, arguments: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    items = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise UserError(f"{where}: expected a list, got {_kind(value)}")
    if len(arguments) == 2 and arguments[1] is not Ellipsis and len(items) != 2:
        raise UserError(f"{where}: expected two values, got {len(items)}")
    kinds = [arguments[0]] * len(items) if arguments[-1] is Ellipsis else arguments
    return tuple(
        convert(item, kind, f"{where}[{number}]") for number, (item, kind) in enumerate(zip(items, kinds, strict=True))
    )


def _convert_scalar(value: Any, kind: type, where: str) -> Any:
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
    raise UserError(f"{where}: expected {expected}, got {value!r}")


def _whole_number(value: Any) -> int:
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        return int(value)
    # 1e3 is a whole number too; 1.5 is not.
    number = float(value)
    if number != int(number):
        raise ValueError
    return value if isinstance(value, int) else int(number)


_BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False, "on": True, "off": False}


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r}"[:80]

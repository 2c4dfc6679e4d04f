"""Records to JSON and back equal: a wrong file is refused by the path of its key."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from ...training.common.errors import UserError, nearest

T = TypeVar("T")


def to_json(record: Any) -> str:
    """Return a record as JSON text that `from_json` turns into an equal record."""
    return json.dumps(dataclasses.asdict(record), indent=2, ensure_ascii=False)


def from_json(cls: type[T], version: int, text: str, where: str, remake: str) -> T:
    """Return the record of class `cls` written in `text`; `where` (a file) begins the message of a `UserError`.

    A record of another `schema_version` is refused; `remake` is the command that writes a new one.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON: {error}") from None
    found = data.get("schema_version", version) if isinstance(data, dict) else version
    if found != version:
        raise UserError(
            f"{where}: schema_version is {found!r}, this slipway reads {version}: write the file again with `{remake}`"
        )
    return typing.cast(T, from_data(cls, data, where))


def from_data(annotation: Any, value: Any, where: str, path: str = "") -> Any:
    """Return parsed JSON `value` as the annotated type.

    Raises `UserError` with the path of the key: unknown, missing, or of another type. Numbers must be finite.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if dataclasses.is_dataclass(annotation):
        return _record(annotation, value, where, path)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return from_data(next(part for part in arguments if part is not types.NoneType), value, where, path)
    if origin is tuple:
        fixed = None if arguments[-1] is Ellipsis else len(arguments)
        if not isinstance(value, list) or fixed not in (None, len(value)):
            raise _wrong(where, path, f"a list of {fixed}" if fixed else "a list", value)
        return tuple(from_data(arguments[0], item, where, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(where, path, "an object", value)
        return {key: from_data(arguments[1], item, where, f"{path}.{key}") for key, item in value.items()}
    if origin is Literal:
        if not isinstance(value, str) or value not in arguments:
            raise _wrong(where, path, f"one of {', '.join(arguments)}", value)
        return value
    if annotation is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if annotation is not float and type(value) is annotation:
        return value
    raise _wrong(where, path, _WORDS[annotation], value)


def _record(cls: Any, value: Any, where: str, path: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(where, path, "an object", value)
    hints = typing.get_type_hints(cls)
    inside = f"{path}." if path else ""
    for key in value:
        if key not in hints:
            raise UserError(f"{where}: unknown key {inside + key!r}{nearest(key, hints)}")
    for key in hints:
        if key not in value:
            raise UserError(f"{where}: missing key {inside + key!r}")
    return cls(**{key: from_data(hints[key], item, where, inside + key) for key, item in value.items()})


_WORDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}


def _wrong(where: str, path: str, expected: str, value: Any) -> UserError:
    shown = "null" if value is None else f"{value!r}"[:60]
    return UserError(f"{where}: {path or 'the top level'} must be {expected}, got {shown}")


def json_schema(cls: Any, version: int) -> dict[str, Any]:
    """Return the JSON schema (2020-12) of a record class with a `schema_version`, made from the dataclasses."""
    definitions: dict[str, Any] = {}
    _schema(cls, definitions)
    title = cls.__name__
    top = definitions.pop(title)
    top["properties"]["schema_version"] = {"const": version}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **top, "$defs": definitions}


def _schema(annotation: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if dataclasses.is_dataclass(annotation):
        name = typing.cast(type, annotation).__name__
        if name not in definitions:
            hints = typing.get_type_hints(annotation)
            definitions[name] = {
                "description": annotation.__doc__,
                "type": "object",
                "properties": {key: _schema(hint, definitions) for key, hint in hints.items()},
                "required": list(hints),
                "additionalProperties": False,
            }
        return {"$ref": f"#/$defs/{name}"}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(part, definitions) for part in arguments]}
    if origin is tuple:
        array: dict[str, Any] = {"type": "array", "items": _schema(arguments[0], definitions)}
        return array if arguments[-1] is Ellipsis else {**array, "minItems": len(arguments), "maxItems": len(arguments)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if origin is Literal:
        return {"enum": list(arguments)}
    return {"type": _JSON_TYPES[annotation]}


_JSON_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", types.NoneType: "null"}

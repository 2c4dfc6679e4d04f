"""Records as JSON: written, read back equal, described by a schema."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from .conversion import field_types, from_mapping
from .errors import UserError
from .program.shown import printable_json
from .small_files import UnreadableError, parse_json

T = TypeVar("T")


def to_json(record: Any) -> str:
    """Return a record as JSON text that `from_json` turns into an equal record."""
    return printable_json(json.dumps(dataclasses.asdict(record), indent=2, ensure_ascii=False))


def from_json(cls: type[T], version: int, text: str, where: str, remake: str) -> T:
    """Return the record of class `cls` written in `text`; `where` (a file) begins the message of a `UserError`.

    A record of another `schema_version` is refused; `remake` is the command that writes a new one.
    """
    return from_mapping(cls, read_record(version, text, where, remake), where)


def read_record(version: int, text: str, where: str, remake: str) -> Any:
    """Return what is written in `text` before it is made a record, as `from_json`."""
    try:
        data = parse_json(text)
    except UnreadableError as error:
        raise UserError(f"{where}: {error}") from None
    found = data.get("schema_version", version) if isinstance(data, dict) else version
    if found != version:
        raise UserError(
            f"{where}: schema_version is {found!r}, this slipway reads {version}: write the file again with `{remake}`"
        )
    return data


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
    if annotation is Any:
        return {}
    if dataclasses.is_dataclass(annotation):
        record = typing.cast(type, annotation)
        name = record.__name__
        if name not in definitions:
            hints = field_types(record)
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

"""All that is wrong with a record that a person wrote, at once: keys, types, and numbers that no machine has."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Any, Union, cast, get_args, get_origin

from ...training.common.conversion import convert, field_types
from ...training.common.errors import UserError, nearest
from .record import Hardware

_AT_LEAST_ONE = ("physical_cores", "logical_cores", "total_bytes", "tiles", "node_count", "task_count", "world_size")
_MOST = {"physical_cores": 1 << 16, "logical_cores": 1 << 16, "usable_cpus": 1 << 16}
_MOST_NUMBER = 1 << 60


def wrong_parts(cls: type, value: Any, path: str = "") -> Iterator[str]:
    """Yield a line for each key that `cls` does not have and each value of another type; what is missing is no fault."""
    if not isinstance(value, Mapping):
        yield f"{path or 'the record'}: expected keys and values, got {_shown(value)}"
        return
    known = field_types(cls)
    for key, item in value.items():
        place = f"{path}.{key}" if path else str(key)
        if key in known:
            yield from _wrong(known[key], item, place)
        else:
            yield f"unknown key {place!r}{nearest(str(key), known)}"


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{value!r:.60}"


def _wrong(annotation: Any, value: Any, place: str) -> Iterator[str]:
    is_text = str in (annotation, *get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        if value is None and type(None) in get_args(annotation):
            return
        records = [part for part in get_args(annotation) if dataclasses.is_dataclass(part)]
        annotation = records[0] if records else annotation
    if dataclasses.is_dataclass(annotation):
        yield from wrong_parts(cast("type[Any]", annotation), value, place)
        return
    arguments = get_args(annotation)
    if get_origin(annotation) is tuple and dataclasses.is_dataclass(arguments[0]):
        if not isinstance(value, list):
            yield f"{place}: expected a list, got {_shown(value)}"
            return
        for number, item in enumerate(value):
            yield from wrong_parts(cast("type[Any]", arguments[0]), item, f"{place}[{number}]")
        return
    if is_text and isinstance(value, (int, float)):
        yield f"{place}: expected text, in quotes, got {_shown(value)}"  # of 2.10 the number is 2.1
        return
    try:
        found = convert(value, annotation, "", place)
    except UserError as error:
        how = ", such as 64 GB" if place.endswith("_bytes") else ""
        yield str(error).removeprefix(": ") + how
        return
    for one in found if isinstance(found, tuple) else (found,):
        if isinstance(one, (int, float)) and not isinstance(one, bool):
            yield from _out_of_range(place, one)


def _out_of_range(place: str, number: float) -> Iterator[str]:
    name = place.rpartition(".")[2]
    least, most = int(name in _AT_LEAST_ONE), _MOST.get(name, _MOST_NUMBER)
    if not least <= number <= most or (name == "usable_cpus" and number == 0):
        yield f"{place}: must be from {'more than 0' if name == 'usable_cpus' else least} to {most:,}, got {number}"


def contradictions(hardware: Hardware) -> Iterator[str]:
    """Yield a line for each place where two parts of a record cannot both be right."""
    places = [(one.kind, one.index) for one in hardware.accelerators]
    for kind, index in sorted({place for place in places if places.count(place) > 1}):
        yield f"accelerators: {kind} {index} is there twice"
    for number, one in enumerate(hardware.accelerators):
        free, total = one.memory_free_bytes, one.memory_total_bytes
        if free is not None and total is not None and free > total:
            yield f"accelerators[{number}]: memory_free_bytes is more than memory_total_bytes"
    for number, seen in enumerate(hardware.environment.visible):
        if (seen.kind, seen.index) not in places:
            yield f"environment.visible[{number}]: there is no {seen.kind} {seen.index}"
    for number, link in enumerate(hardware.links):
        for end in (link.first, link.second):
            if (link.kind, end) not in places:
                yield f"links[{number}]: there is no {link.kind} {end}"

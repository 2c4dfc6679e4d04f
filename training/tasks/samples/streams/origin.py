"""What can be seen of where a stream's samples come from: the code that gives them, and plain values that it uses."""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from types import CodeType, FunctionType, MethodType
from typing import Any

_DEEPEST, _LONGEST = 5, 64


def origin_of(source: Any) -> dict[str, Any]:
    """Return plain values by the place where they stand: of a function its code, defaults, and the values it refers to.

    What the code itself sets is left out, such as a counter. Two sources may differ in what is not seen here.
    """
    return dict(_walk(source, "stream", set(), 0))


def origin_name(*parts: Any) -> str:
    """Return a hash of plain values and origins."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _walk(value: Any, place: str, seen: set[int], depth: int) -> Iterator[tuple[str, Any]]:
    if value is None or isinstance(value, (bool, int, float, str)):
        yield place, value
    elif isinstance(value, PurePath):
        yield place, str(value)
    elif id(value) in seen or depth > _DEEPEST or isinstance(value, type) or inspect.ismodule(value):
        return
    else:
        seen.add(id(value))
        for name, part in _parts(value):
            yield from _walk(part, f"{place}.{name}", seen, depth + 1)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, FunctionType):
        yield from _of_function(value)
    elif isinstance(value, MethodType):
        yield from (("function", value.__func__), ("self", value.__self__))
    elif isinstance(value, functools.partial):
        yield from (("function", value.func), ("arguments", value.args), ("keywords", value.keywords))
    elif inspect.isgenerator(value):
        yield from _of_code(value.gi_code)
        if value.gi_frame is not None and inspect.getgeneratorstate(value) == inspect.GEN_CREATED:
            yield from value.gi_frame.f_locals.items()
    elif isinstance(value, Mapping):
        yield from ((str(key), part) for key, part in list(value.items())[:_LONGEST])
    elif isinstance(value, (list, tuple)):
        yield from ((str(number), part) for number, part in enumerate(value[:_LONGEST]))
    else:
        yield from _of_object(value)


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    yield from _of_code(code)
    yield "defaults", function.__defaults__
    yield "keyword_defaults", function.__kwdefaults__
    own = set(_stored(code))
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            content = cell.cell_contents
        except ValueError:  # not set yet
            continue
        if name not in own and not isinstance(content, (list, dict, set)):
            yield name, content
    for name in code.co_names:
        content = function.__globals__.get(name)
        if content is not None and name not in own and not isinstance(content, (list, dict, set)):
            yield name, content


def _of_object(value: Any) -> Iterator[tuple[str, Any]]:
    kind = type(value)
    yield "type", f"{kind.__module__}.{kind.__qualname__}"
    own: set[str] = set()
    for name in ("__iter__", "__next__", "__call__"):
        if isinstance(function := getattr(kind, name, None), FunctionType):
            own |= set(_stored(function.__code__))
            yield from _of_code(function.__code__)
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        yield from ((name, part) for name, part in attributes.items() if name not in own)


def _of_code(code: CodeType) -> Iterator[tuple[str, Any]]:
    yield f"{code.co_qualname}.code", hashlib.sha256(_text_of(code).encode()).hexdigest()
    path = Path(code.co_filename)
    # The file of a cell of a notebook has another name in each session.
    yield f"{code.co_qualname}.file", str(path.resolve()) if path.exists() else os.getcwd()


def _text_of(code: CodeType) -> str:
    return repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars, [*map(_constant, code.co_consts)]))


def _constant(value: Any) -> str:
    if isinstance(value, CodeType):
        return _text_of(value)
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def _stored(code: CodeType) -> Iterator[str]:
    """Yield the names that code sets: variables of other functions and of the module, attributes."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("STORE_DEREF", "STORE_GLOBAL", "STORE_ATTR"):
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _stored(constant)

"""Values of a record that a program wrote and anything may have changed: what is not as expected counts as not there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard


def at(record: Any, *path: str) -> Any:
    """Return what stands at a path of names, or None."""
    for name in path:
        if not isinstance(record, Mapping):
            return None
        record = record.get(name)
    return record


def number(record: Any, *path: str) -> float | None:
    """Return the finite number at a path, or None."""
    value = at(record, *path)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def text(record: Any, *path: str) -> str:
    """Return the value at a path as text, empty where there is none or it is no single value."""
    value = at(record, *path)
    return "" if value is None or isinstance(value, (list, Mapping)) else str(value)


def mapping(record: Any, *path: str) -> Mapping[str, Any]:
    """Return the mapping at a path, or an empty one."""
    value = at(record, *path)
    return value if isinstance(value, Mapping) else {}


def items(record: Any, *path: str) -> list[Any]:
    """Return the list at a path, or an empty one."""
    value = at(record, *path)
    return value if isinstance(value, list) else []


def rows(record: Any, *path: str) -> list[Mapping[str, Any]]:
    """Return the mappings in the list at a path."""
    return [one for one in items(record, *path) if isinstance(one, Mapping)]


def counts(record: Any, *path: str) -> list[int]:
    """Return the whole numbers from 0 up in the list at a path."""
    return [one for one in items(record, *path) if is_count(one)]


def is_count(value: Any) -> TypeGuard[int]:
    """Return whether a value is a whole number from 0 up, of a size that something is counted in."""
    return isinstance(value, int) and 0 <= value < 2**53

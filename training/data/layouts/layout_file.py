"""Reads the layout of a skeleton of one's own from a YAML file: names, coordinates, sides, origin, unit, bones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...common.errors import UserError, nearest
from ...common.small_files import UnreadableError, expanded, read_yaml, reason_of
from ..landmarks import LandmarkLayout
from .named import named_layout

_KEYS = ("title", "names", "coords", "sides", "center", "wrist", "scale", "shoulders", "bones", "parts")
_FORMS = ("xy", "xyz", "xyzv", "xyc")


@dataclass(frozen=True, kw_only=True)
class LayoutFile:
    """A layout from a file."""

    layout: LandmarkLayout
    """With two coordinates; how many there are, the data say."""
    form: str | None
    """The numbers of a point, such as `xyzv`; None: as the data say."""


def read_layout(path: str) -> LayoutFile:
    """Return the layout of a file. Raises `UserError` that names the file, the key and what to write.

    The file has `names`, a list; all else is optional: `coords`, one of xy, xyz, xyzv, xyc; `sides`, pairs of names that a
    flip exchanges (without it those that differ by left and right); `center` or `wrist`, one name or several; `scale` or
    `shoulders`, two names or pairs of them; `bones`, pairs; `parts`, lists of names by part, each with its root first;
    `title`.
    """
    content = _load(expanded(path))
    names = content.get("names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int) for name in names):
        raise _wrong(path, "names", "a list of the landmarks' names, in the order of their numbers")
    names = [str(name) for name in names]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path}: names: {twice!r} stands twice; give each landmark a name of its own", option="layout")
    form = content.get("coords")
    if form not in (None, *_FORMS):
        raise _wrong(path, "coords", f"one of {', '.join(_FORMS)}")
    for one, other in (("center", "wrist"), ("scale", "shoulders")):
        if one in content and other in content:
            raise UserError(f"{path}: {one} and {other} say the same; keep one of them", option="layout")
    layout = named_layout(names, 2)
    changes: dict[str, Any] = {"title": str(content.get("title") or Path(path).stem)}
    if (center := content.get("center", content.get("wrist"))) is not None:
        places = [center] if isinstance(center, str | int) else center
        changes["center"] = tuple(_place(path, "center", name, names) for name in _list(path, "center", places))
    if (scale := content.get("scale", content.get("shoulders"))) is not None:
        pairs = [scale] if isinstance(scale, list) and scale and not isinstance(scale[0], list) else scale
        changes["scale"] = _pairs(path, "scale", pairs, names)
    if "bones" in content:
        changes["bones"] = _pairs(path, "bones", content["bones"], names)
    if "sides" in content:
        mirror = list(range(len(names)))
        for left, right in _pairs(path, "sides", content["sides"], names):
            mirror[left], mirror[right] = right, left
        changes["mirror"] = tuple(mirror)
    if "parts" in content:
        changes["parts"] = _parts(path, content["parts"], names)
    return LayoutFile(layout=replace(layout, **changes), form=form)


def _load(path: Path) -> Mapping[str, Any]:
    try:
        content = read_yaml(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({reason_of(error)}); --layout names a YAML file", option="layout"
        ) from None
    except UnreadableError as error:
        raise UserError(f"{path}: {error}", option="layout") from None
    if not isinstance(content, Mapping):
        raise _wrong(str(path), "names", "a mapping with the landmarks' names")
    for key in content:
        if key not in _KEYS:
            raise UserError(
                f"{path}: unknown key {str(key)!r}{nearest(str(key), _KEYS)}; keys: {', '.join(_KEYS)}", option="layout"
            )
    return content


def _wrong(path: str, key: str, expected: str) -> UserError:
    return UserError(f"{path}: {key}: expected {expected}", option="layout")


def _list(path: str, key: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise _wrong(path, key, "names of landmarks")
    return value


def _place(path: str, key: str, name: Any, names: list[str]) -> int:
    if str(name) not in names:
        raise UserError(f"{path}: {key}: no landmark {str(name)!r}{nearest(str(name), names)}", option="layout")
    return names.index(str(name))


def _pairs(path: str, key: str, value: Any, names: list[str]) -> tuple[tuple[int, int], ...]:
    pairs = []
    for pair in _list(path, key, value):
        if not isinstance(pair, list) or len(pair) != 2:
            raise _wrong(path, key, "pairs of names, each as [one, other]")
        first, second = (_place(path, key, name, names) for name in pair)
        pairs.append((first, second))
    return tuple(pairs)


def _parts(path: str, value: Any, names: list[str]) -> tuple[tuple[int, int, int], ...]:
    if not isinstance(value, Mapping):
        raise _wrong(path, "parts", "lists of names by part, as left_hand: [left_wrist, left_thumb]")
    parts = []
    for part, members in value.items():
        places = [_place(path, f"parts.{part}", name, names) for name in _list(path, f"parts.{part}", members)]
        if not places or sorted(places) != list(range(min(places), min(places) + len(places))):
            raise _wrong(path, f"parts.{part}", "names that stand side by side in names, the root of the part first")
        parts.append((min(places), max(places) + 1, places[0]))
    return tuple(parts)

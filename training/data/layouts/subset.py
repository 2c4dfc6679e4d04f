"""Keeps some landmarks of a layout, by name or by part, with what is said of them: origin, unit, mirror image, bones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from ...common.errors import UserError, nearest
from ..landmarks import LandmarkLayout
from .mediapipe import names_of, title_of

_MOST_IN_TITLE = 4


def tokens_of(keep: str) -> tuple[str, ...]:
    """Return the names in a text with commas between them."""
    return tuple(token.strip() for token in keep.split(",") if token.strip())


def chosen_landmarks(layout: LandmarkLayout, keep: str) -> np.ndarray:
    """Return the landmarks that a text names, increasing: each by its name, its part, or its name in every part.

    Raises `UserError` with the nearest name for one that is not there.
    """
    names = layout.names or tuple(map(str, range(layout.num_landmarks)))
    parts = {name.rpartition(".")[0]: None for name in names if "." in name}
    lips = set(names_of("lips")) if "face" in parts else set()
    tokens, chosen = tokens_of(keep), set()
    for token in tokens:
        found = [
            point
            for point, name in enumerate(names)
            if name == token or name.startswith(f"{token}.") or name.endswith(f".{token}")
        ]
        if token == "lips":  # noqa: S105 - a part of a face
            found = [point for point, name in enumerate(names) if name in lips]
        if not found:
            known = (*parts, *(("lips",) if lips else ()), *names, *(name.rpartition(".")[2] for name in names))
            shown = ", ".join(parts) or f"{', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
            raise UserError(
                f"--keep-landmarks: no landmark or part {token!r}{nearest(token, known)}; there are {shown}",
                option="keep_landmarks",
            )
        chosen.update(found)
    if not chosen:
        raise UserError("--keep-landmarks: names no landmark", option="keep_landmarks")
    return np.array(sorted(chosen))


def subset(layout: LandmarkLayout, chosen: Iterable[int]) -> LandmarkLayout:
    """Return the layout of some of its landmarks, given increasing.

    What refers to landmarks that are gone goes too: the origin is then at the roots of the parts, the unit the length of
    palms, if these are there. Without the other side of all of them a point is its own mirror image, as that of a lone
    hand; without that of some there is no mirror image.
    """
    chosen = list(chosen)
    place = {point: index for index, point in enumerate(chosen)}
    names = tuple(layout.names[point] for point in chosen) if layout.names else ()
    parts = tuple(
        (place[kept[0]], place[kept[-1]] + 1, place[root])
        for first, stop, root in layout.parts
        if root in place and (kept := [point for point in chosen if first <= point < stop])
    )
    center = _all_of(layout.center, place) or tuple(root for _, _, root in parts)
    scale = tuple((place[a], place[b]) for a, b in layout.scale if a in place and b in place)
    return replace(
        layout,
        num_landmarks=len(chosen),
        center=center,
        scale=scale or _palms(names),
        mirror=_mirror(layout, chosen, place),
        parts=parts,
        title=_title(layout, names),
        names=names,
        bones=tuple((place[a], place[b]) for a, b in layout.bones if a in place and b in place),
    )


def _all_of(points: Sequence[int], place: dict[int, int]) -> tuple[int, ...]:
    return tuple(place[point] for point in points) if all(point in place for point in points) else ()


def _palms(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    number = {name: index for index, name in enumerate(names)}
    hands = [name.removesuffix(".wrist") for name in names if name.endswith("hand.wrist")]
    return tuple(
        (number[f"{hand}.wrist"], number[f"{hand}.middle_finger_mcp"])
        for hand in hands
        if f"{hand}.middle_finger_mcp" in number
    )


def _mirror(layout: LandmarkLayout, chosen: Sequence[int], place: dict[int, int]) -> tuple[int, ...]:
    sided = [point for point in chosen if layout.mirror and layout.mirror[point] != point]
    if not layout.mirror or all(layout.mirror[point] in place for point in sided):
        return tuple(place[layout.mirror[point]] for point in chosen) if layout.mirror else ()
    is_one_side = not any(layout.mirror[point] in place for point in sided)
    return tuple(range(len(chosen))) if is_one_side else ()


def _title(layout: LandmarkLayout, names: Sequence[str]) -> str:
    """Return the parts of the names, with their number of points where it is not all; a few names without parts themselves."""
    sizes: dict[str, int] = {}
    for name in layout.names:
        part = name.rpartition(".")[0]
        sizes[part] = sizes.get(part, 0) + 1
    kept = [name.rpartition(".")[0] for name in names]
    if not names or "" in kept:
        return ", ".join(names) if 0 < len(names) <= _MOST_IN_TITLE else layout.title
    whole = [part for part in dict.fromkeys(kept) if kept.count(part) == sizes[part]]
    if "face" in whole and sizes["face"] == len(names_of("lips")):
        whole[whole.index("face")] = "lips"
    partly = [f"{kept.count(part)} of {part.replace('_', ' ')}" for part in dict.fromkeys(kept) if part not in whole]
    if "lips" in whole:
        partly = [text for text in partly if not text.endswith(" of face")]
    return ", ".join([*([title_of(whole)] if whole else []), *partly])

"""The layout of landmarks of which only the names are known: sides, origin and unit by the names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..landmarks import LandmarkLayout

_SIDE = re.compile(r"(?<![a-z])(?:left|right)|(?:left|right)(?![a-z])")


def named_layout(names: Sequence[str], num_coords: int) -> LandmarkLayout:
    """Return the layout of named landmarks: at the nose, the shoulders or the wrist; left and right exchanged by a flip.

    Without names that differ by `left` and `right` alone there is no mirror image.
    """
    mirror = mirror_by_names(names)
    shoulders = tuple(index for index, name in enumerate(names) if "shoulder" in name)
    wrists = tuple(index for index, name in enumerate(names) if name.endswith("wrist"))
    two_shoulders = shoulders if len(shoulders) == 2 else ()
    nose = next(((index,) for index, name in enumerate(names) if name.rpartition(".")[2] == "nose"), ())
    return LandmarkLayout(
        num_landmarks=len(names),
        num_coords=num_coords,
        center=nose or two_shoulders or wrists,
        scale=((shoulders[0], shoulders[1]),) if two_shoulders else (),
        mirror=mirror if any(point != index for index, point in enumerate(mirror)) else (),
        title="named points",
        names=tuple(names),
    )


def mirror_by_names(names: Sequence[str]) -> tuple[int, ...]:
    """Return the landmark that each becomes under a flip: that with `left` and `right` exchanged in its name, or itself.

    Empty if the landmark of a side has none on the other.
    """
    numbers = {name: index for index, name in enumerate(names)}
    other = [_SIDE.sub(lambda side: "right" if side[0] == "left" else "left", name) for name in names]
    return tuple(numbers[name] for name in other) if all(name in numbers for name in other) else ()

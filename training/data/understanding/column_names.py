"""What the names of columns say of the numbers of a frame: `x1, y1, z1, v1`, `wrist_x`, `0_x`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_FLAGS = {"v": "v", "vis": "v", "visibility": "v"} | dict.fromkeys(
    ("c", "conf", "confidence", "score", "presence", "prob", "likelihood"), "c"
)
_AXIS = rf"(?P<axis>[xyz]|{'|'.join(sorted(_FLAGS, key=len, reverse=True))})"
_COLUMN = (
    re.compile(rf"{_AXIS}[\s_.-]?(?P<point>\d+)", re.IGNORECASE),
    re.compile(rf"(?P<point>.+?)[\s_.-]{_AXIS}", re.IGNORECASE),
    re.compile(r"(?P<point>.*\d)(?P<axis>[xyzv])", re.IGNORECASE),
    re.compile(r"(?P<point>.*[a-z])(?P<axis>[XYZ])"),
    re.compile(r"(?P<axis>[xyz])[\s_.-](?P<point>[a-z].*)", re.IGNORECASE),
)
_SENSOR = re.compile(r"acc|gyr|mag|quat|euler|imu|vel|force|angle|flex|emg", re.IGNORECASE)

_FEWEST_POINTS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class NamedColumns:
    """Points that the names of columns tell."""

    form: str
    """The numbers of a point, as in `FORMS`."""
    points: tuple[str, ...]
    """The names of the points, in small letters with underscores; empty if they are only numbered."""
    columns: np.ndarray
    """int [points, numbers of a point]: the places of the numbers."""
    others: tuple[int, ...]
    """The places of numbers that are of no point."""


def points_by_names(names: Sequence[str]) -> NamedColumns | None:
    """Return the points that columns name, if it is certain that they do: each with x and y, and all with the same axes."""
    found: dict[str, dict[str, int]] = {}
    others = []
    for place, name in enumerate(names):
        match = next((match for match in (one.fullmatch(name.strip()) for one in _COLUMN) if match), None)
        if match is None or _SENSOR.search(name):
            others.append(place)
            continue
        axis = match["axis"].lower()
        point = found.setdefault(re.sub(r"\W+", "_", match["point"].lower()).strip("_"), {})
        if point.setdefault(_FLAGS.get(axis, axis), place) != place:
            return None
    axes = {tuple(sorted(point)) for point in found.values()}
    if len(found) < _FEWEST_POINTS or len(axes) != 1:
        return None
    order = [axis for axis in "xyzvc" if axis in next(iter(axes))]
    form = {"xy": "xy", "xyz": "xyz", "xyzv": "xyzv", "xyzc": "xyzv", "xyc": "xyc", "xyv": "xyc"}.get("".join(order))
    if form is None:
        return None
    columns = np.array([[point[axis] for axis in order] for point in found.values()])
    return NamedColumns(form=form, points=_proper_names(list(found)), columns=columns, others=tuple(others))


def _proper_names(points: list[str]) -> tuple[str, ...]:
    """Return the names; none if they differ by a number alone."""
    are_numbered = len({re.sub(r"\d+$", "", point) for point in points}) == 1
    return () if are_numbered else tuple(points)

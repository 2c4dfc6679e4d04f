"""What the names of columns say of the numbers of a frame: `x1, y1, z1, v1`, `wrist_x`, `0_x`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..layouts.mediapipe import PART_NAMES, POINTS
from .candidates import Part

_FLAGS = {"v": "v", "vis": "v", "visibility": "v"} | dict.fromkeys(
    ("c", "conf", "confidence", "score", "presence", "prob", "likelihood"), "c"
)
_AXIS = rf"(?P<axis>[xyz]|{'|'.join(sorted(_FLAGS, key=len, reverse=True))})"
_COLUMN = (
    re.compile(rf"{_AXIS}[\s_.-]?(?P<point>\d+)", re.IGNORECASE),
    re.compile(rf"(?P<part>.+)[\s_.-]{_AXIS}[\s_.-]?(?P<point>\d+)", re.IGNORECASE),
    re.compile(rf"(?P<point>.+?)[\s_.-]{_AXIS}", re.IGNORECASE),
    re.compile(r"(?P<point>.*\d)(?P<axis>[xyzv])", re.IGNORECASE),
    re.compile(r"(?P<point>.*[a-z])(?P<axis>[XYZ])"),
    re.compile(r"(?P<axis>[xyz])[\s_.-](?P<point>[a-z].*)", re.IGNORECASE),
)
_SENSOR = re.compile(r"acc|gyr|mag|quat|euler|imu|vel|force|angle|flex|emg", re.IGNORECASE)

_OF_PART = re.compile(r"(?P<part>.*?[a-z])_?(?P<number>\d+)")
_FORMS = {"xy": "xy", "xyz": "xyz", "xyzv": "xyzv", "xyzc": "xyzv", "xyc": "xyc", "xyv": "xyc"}

_FEWEST_POINTS = 3
_LEAST_ALIKE = 0.8
"""The share of points that must have the same axes; `bbox_x` and `bbox_y` beside them are no point."""


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
    parts: tuple[Part, ...] = ()
    """The parts of MediaPipe that the points are, if their names say so."""


def points_by_names(names: Sequence[str]) -> NamedColumns | None:
    """Return the points that columns name, if it is certain that they do: each with x and y, and all with the same axes.

    Parts of MediaPipe may have different axes.
    """
    found: dict[str, dict[str, int]] = {}
    others = []
    for place, name in enumerate(names):
        match = next((match for match in (one.fullmatch(name.strip()) for one in _COLUMN) if match), None)
        if match is None or _SENSOR.search(name):
            others.append(place)
            continue
        axis = match["axis"].lower()
        words = [match.groupdict().get("part") or "", match["point"]]
        point = found.setdefault(re.sub(r"\W+", "_", "_".join(words).lower()).strip("_"), {})
        if point.setdefault(_FLAGS.get(axis, axis), place) != place:
            return None
    axes = Counter("".join(axis for axis in "xyzvc" if axis in point) for point in found.values())
    if len(found) < _FEWEST_POINTS:
        return None
    if parts := _parts(found):
        columns = np.concatenate([part.coords[:, :2] for part in parts])
        return NamedColumns(form=parts[0].form, points=(), columns=columns, others=tuple(others), parts=parts)
    order, count = axes.most_common(1)[0]
    if order not in _FORMS or count < _LEAST_ALIKE * len(found):
        return None
    kept = {name: point for name, point in found.items() if "".join(sorted(point)) == "".join(sorted(order))}
    others += [place for name, point in found.items() if name not in kept for place in point.values()]
    columns = np.array([[point[axis] for axis in order] for point in kept.values()])
    return NamedColumns(
        form=_FORMS[order], points=_proper_names(list(kept)), columns=columns, others=tuple(sorted(others))
    )


def _parts(found: Mapping[str, Mapping[str, int]]) -> tuple[Part, ...]:
    """Return the complete parts of MediaPipe that all points are of, in the order of the columns; none else."""
    numbered: dict[str, dict[int, Mapping[str, int]]] = {}
    for name, point in found.items():
        match = _OF_PART.fullmatch(name)
        if match is None or match["part"] not in PART_NAMES:
            return ()
        numbered.setdefault(PART_NAMES[match["part"]], {})[int(match["number"])] = point
    parts = []
    for name, points in numbered.items():
        order = sorted(points)
        named = "face_and_irises" if name == "face" and len(order) == len(POINTS["face_and_irises"]) else name
        axes = {"".join(axis for axis in "xyzvc" if axis in point) for point in points.values()}
        form = _FORMS.get(axes.pop()) if len(axes) == 1 else None
        if form is None or len(order) != len(POINTS[named]) or order[-1] - order[0] != len(order) - 1:
            return ()
        letters = sorted(points[order[0]], key="xyzvc".index)
        columns = np.array([[points[number][axis] for axis in letters] for number in order])
        parts.append(Part(name=named, form=form, columns=columns))
    return tuple(parts)


def _proper_names(points: list[str]) -> tuple[str, ...]:
    """Return the names; none if they are numbered, with one word before the numbers or one for each hand."""
    words = {re.sub(r"_?\d+$", "", point) for point in points}
    are_numbered = len(words) == 1 or {re.sub(r"_?\d+$", "", word) for word in words} == {"hand"}
    return () if are_numbered else tuple(points)

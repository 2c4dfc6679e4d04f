"""What the numbers of a frame can be, by their count: the parts of a body, the numbers of a point, what is left out."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..layouts.mediapipe import POINTS, title_of
from ..specs import Reading

FORMS = ("xy", "xyz", "xyzv", "xyc")
"""The numbers of a point: coordinates, and v for visibility or c for confidence."""

UNKNOWN = "points"
"""The name of a part of which only the number of points is known."""

_HANDS = ("left_hand", "right_hand")
_BODIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("hand", ("hand",)),
    ("hands", _HANDS),
    ("pose", ("pose",)),
    ("holistic", ("pose", *_HANDS)),
    ("holistic", ("pose", *_HANDS, "lips")),
    ("holistic", ("pose", "face")),
    ("holistic", ("pose", "face", *_HANDS)),
    ("holistic", ("pose", "face_and_irises", *_HANDS)),
    ("face", ("face",)),
    ("face", ("face_and_irises",)),
)
"""Parts of MediaPipe in the order in which most programs write them, with the value of `--landmarks` for them."""

ISLR = ("face", "left_hand", "pose", "right_hand")
"""The order in Google's set of isolated signs."""

_ORDERS: tuple[tuple[str, tuple[str, ...]], ...] = tuple(
    (kind, order)
    for kind, parts in _BODIES
    if "pose" in parts and "lips" not in parts
    for order in itertools.permutations(parts)
    if order != parts and [part for part in order if part in _HANDS] in ([], [*_HANDS])
)
"""The other orders of the same parts, Google's among them: which one it is, is told by the numbers."""

_ANGLES = (15, 12)
"""Angles of a hand's joints that gesture tutorials write behind its points."""

_WORDS = {"xy": "x, y", "xyz": "x, y, z", "xyzv": "x, y, z, visibility", "xyc": "x, y, confidence"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """The points of a part of the body, and where their numbers stand in a frame."""

    name: str
    """A name of `POINTS`, or `UNKNOWN`."""
    form: str
    columns: np.ndarray
    """int [points, numbers of a point]: the place of each number in a frame."""

    @property
    def coords(self) -> np.ndarray:
        """The places of the coordinates, [points, 2 or 3]."""
        return self.columns[:, : len(self.form.rstrip("vc"))]

    @property
    def flags(self) -> np.ndarray | None:
        """The places of the visibilities or confidences, [points]."""
        return self.columns[:, -1] if self.form[-1] in "vc" else None


@dataclass(frozen=True, kw_only=True, eq=False)
class LeftOut:
    """Numbers of a frame that are no points."""

    what: str
    """angle, label or time."""
    columns: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """One thing that the numbers of a frame can be."""

    kind: str
    """The value of `--landmarks` for it, or `face`."""
    parts: tuple[Part, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def forms(self) -> tuple[str, ...]:
        """The different forms of its points."""
        return tuple(dict.fromkeys(part.form for part in self.parts))

    @property
    def coords(self) -> np.ndarray:
        """The places of all coordinates, flat."""
        return np.concatenate([part.coords.reshape(-1) for part in self.parts])

    @property
    def is_islr(self) -> bool:
        """Whether its parts stand in the order of Google's set, which has no visibilities."""
        return tuple(part.name for part in self.parts) == ISLR and len(self.forms) == 1

    @property
    def is_usual(self) -> bool:
        """Whether its parts stand in the order in which most programs write them."""
        return (self.kind, tuple(part.name for part in self.parts)) not in _ORDERS

    def __str__(self) -> str:
        """Return what it is: `hand x, y, z, visibility and 15 angles`."""
        if self.kind == "points":
            points = f"{sum(len(part.columns) for part in self.parts)} points"
        elif not self.is_usual:
            points = ", ".join(part.name.replace("_", " ") for part in self.parts)
        else:
            points = title_of([part.name for part in self.parts])
        return " and ".join([f"{points} {' or '.join(_WORDS[form] for form in self.forms)}", *self.others])

    @property
    def others(self) -> list[str]:
        """What is left out: `15 angles`, `the label`."""
        counts = Counter({one.what: 0 for one in self.left_out})
        for one in self.left_out:
            counts[one.what] += len(one.columns)
        return [f"the {what}" if count == 1 else f"{count} {what}s" for what, count in counts.items()]

    @property
    def options(self) -> str:
        """The options that say it."""
        if self.is_islr:
            return "--layout islr"
        kind = "" if self.kind == "face" else f"--landmarks {self.kind} "
        return f"{kind}--coords {self.forms[0]}"


def known(size: int, names: Sequence[str] | None = None) -> list[Candidate]:
    """Return what is known with so many numbers in a frame; `names` of columns tell whether the first is the time."""
    found: list[Candidate] = []
    for kind, parts in (*_BODIES, *_ORDERS):
        for forms in _forms_of(parts):
            for runs in _with_angles(parts, forms):
                found += _with_others(kind, runs, size, names)
    return found


def known_points(num_points: int, forms: Sequence[str]) -> list[Candidate]:
    """Return what is known with so many points, each of one of the given forms."""
    return [
        _candidate(kind, [_Run(part, form, len(POINTS[part])) for part in parts])
        for kind, parts in (*_BODIES, *_ORDERS)
        if sum(len(POINTS[part]) for part in parts) == num_points
        for form in forms
    ]


def unknown_points(size: int, forms: Sequence[str], names: Sequence[str] | None = None) -> list[Candidate]:
    """Return all ways to divide the numbers of a frame into points of one of the given forms."""
    found: list[Candidate] = []
    for form in forms:
        for others in range(3):
            count, rest = divmod(size - others, len(form))
            if count > 0 and not rest:
                found += _with_others("points", [_Run(UNKNOWN, form, count)], size, names)
    return found


def kind_of(parts: Sequence[str]) -> str:
    """Return the value of `--landmarks` for some parts, or `face`."""
    if len(parts) == 1:
        return parts[0] if parts[0] == "pose" else "face" if parts[0].startswith("face") else "hand"
    return "hands" if set(parts) == set(_HANDS) else "holistic"


def chosen_by(reading: Reading, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that the options of a reading admit."""
    is_islr = {"islr": True}.get(reading.layout or "", None if reading.landmarks == "auto" else False)
    return [
        one
        for one in candidates
        if reading.landmarks in ("auto", one.kind)
        and (reading.coords == "auto" or reading.coords in one.forms)
        and is_islr in (None, one.is_islr)
    ]


class _Run(NamedTuple):
    """Numbers that stand side by side: the points of a part, or what is left out."""

    name: str
    """The name of a part; empty for what is left out."""
    form: str
    """The numbers of a point; of what is left out, what it is."""
    size: int
    """Points, or numbers that are left out."""


def _forms_of(parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for form in FORMS:
        yield (form,) * len(parts)
    if "pose" in parts and len(parts) > 1:
        # Only a pose has visibilities, and most programs write them for it alone.
        yield tuple("xyzv" if part == "pose" else "xyz" for part in parts)


def _with_angles(parts: Sequence[str], forms: Sequence[str]) -> Iterator[list[_Run]]:
    """Yield the parts alone, and hands with their angles: behind all points, or behind those of each hand."""
    body = [_Run(part, form, len(POINTS[part])) for part, form in zip(parts, forms, strict=True)]
    yield body
    if all(part.endswith("hand") for part in parts):
        for angles in _ANGLES:
            yield [*body, _Run("", "angle", angles * len(parts))]
            if len(parts) > 1:
                yield [run for one in body for run in (one, _Run("", "angle", angles))]


def _with_others(kind: str, runs: list[_Run], size: int, names: Sequence[str] | None) -> Iterator[Candidate]:
    """Yield the candidates of a size with nothing, the label or the time before the points, and nothing or the label behind."""
    label, time = [_Run("", "label", 1)], [_Run("", "time", 1)]
    before: list[list[_Run]] = [[], time] if names and is_time(names[0]) else [[]]
    for first, last in (*((first, last) for first in before for last in ([], label)), (label, [])):
        every = [*first, *runs, *last]
        if sum(_numbers(run) for run in every) == size:
            yield _candidate(kind, every)


def _numbers(run: _Run) -> int:
    return run.size * (len(run.form) if run.name else 1)


def _candidate(kind: str, runs: Sequence[_Run]) -> Candidate:
    parts, left_out, start = [], [], 0
    for run in runs:
        columns = np.arange(start, start + _numbers(run))
        start += columns.size
        if run.name:
            parts.append(Part(name=run.name, form=run.form, columns=columns.reshape(run.size, -1)))
        else:
            left_out.append(LeftOut(what=run.form, columns=columns))
    return Candidate(kind=kind, parts=tuple(parts), left_out=tuple(left_out))


def is_time(name: str) -> bool:
    """Return whether a column is called as one that counts frames or time."""
    plain = "".join(letter for letter in name.lower() if letter.isalpha())
    return plain in {"time", "timestamp", "timestampms", "frame", "frameid", "frameno", "framenumber", "frameindex"} | {
        "index",
        "seconds",
        "datetime",
    }

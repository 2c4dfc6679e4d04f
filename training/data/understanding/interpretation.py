"""Decides what the numbers of a frame are, by their count, their values, their names and what a person says; else asks."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from ...common.errors import UserError
from ..landmarks import LandmarkLayout
from ..layouts.layout_file import read_layout
from ..layouts.mediapipe import ORDER, POINTS, channels, compose, names_of, points, title_of
from ..layouts.named import named_layout
from ..layouts.subset import chosen_landmarks, subset, tokens_of
from ..readers.raw import RawClips
from ..specs import CoordsKind, Reading
from .candidates import (
    FORMS,
    UNKNOWN,
    Candidate,
    LeftOut,
    Part,
    chosen_by,
    is_time,
    kind_of,
    known,
    known_points,
    unknown_points,
)
from .column_names import NamedColumns, points_by_names
from .columns import Columns
from .evidence import fitting, may_be_confidences

_ALSO_OTHERS = {
    66: "22 joints x, y, z",
    150: "two bodies of 25 joints x, y, z",
}
"""Counts that other trackers write too: their parts must be said."""


_OF_FRAME = (1662, 258, 225, 126, 63, 84, 42)
"""Numbers that programs write most often for a frame."""
_FEWEST_FRAMES = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Interpretation:
    """Where the landmarks stand among the numbers of a frame."""

    layout: LandmarkLayout
    places: np.ndarray
    """int [landmarks, coords]."""
    flags: np.ndarray
    """int [landmarks]: the place of the visibility or confidence that is 0 for a missing landmark; -1 if there is none."""
    parts: tuple[np.ndarray, ...] = ()
    """The places of all coordinates of each part, [points, coords], which is missing where they are all 0."""
    part_of: np.ndarray
    """int [landmarks]: the number of its part in `parts`."""
    points_may_be_lost: bool = False
    """Whether single points can be missing, not only whole parts as with MediaPipe."""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def as_they_are(layout: LandmarkLayout) -> Interpretation:
    """Return the interpretation of complete landmarks of a layout, in which zeros are numbers as others."""
    count = layout.num_landmarks
    return Interpretation(
        layout=layout,
        places=np.arange(count * layout.num_coords).reshape(count, layout.num_coords),
        flags=np.full(count, -1),
        part_of=np.zeros(count, dtype=np.int64),
    )


def interpret(raw: RawClips, values: np.ndarray, columns: Columns, reading: Reading) -> Interpretation:
    """Return what the numbers of a source are, `values` [frames, numbers], and where the landmarks to keep stand.

    Raises `UserError` where it is not certain, and for landmarks to keep that are not there.
    """
    read_as = _interpret(raw, values, columns, reading)
    if reading.keep is None:
        return read_as
    chosen = chosen_landmarks(read_as.layout, reading.keep)
    layout = subset(read_as.layout, chosen.tolist())
    return replace(
        read_as,
        layout=layout,
        places=read_as.places[chosen],
        flags=read_as.flags[chosen],
        part_of=read_as.part_of[chosen],
        notes=(*read_as.notes, f"kept {len(chosen)} of {len(read_as.places)} landmarks: {layout.title}"),
    )


def _interpret(raw: RawClips, values: np.ndarray, columns: Columns, reading: Reading) -> Interpretation:
    size = values.shape[1]
    names = raw.number_names if raw.number_names is not None and len(raw.number_names) == size else None
    if reading.landmarks == "channels":
        return as_they_are(channels(size, names or ()))
    if raw.layout is not None and (reading.landmarks, reading.coords, reading.layout) == ("auto", "auto", None):
        return as_they_are(raw.layout)
    own = None if reading.layout in (None, "islr") else read_layout(reading.layout)
    if own is not None and reading.coords == "auto" and own.form is not None:
        reading = replace(reading, coords=cast(CoordsKind, own.form))
    if raw.parts is not None and names is not None and reading.coords == "xyc":
        # Its names were made from the shapes of its parts, which do not tell a confidence from z.
        names = [re.sub("_z$", "_c", name) for name in names]
    named = points_by_names(names) if names is not None else None
    shape = raw.values.shape[1:] if raw.layout is None else (size,)
    if own is not None:
        candidates = _own_candidates(own.layout, shape, names, reading)
    else:
        candidates = _candidates(shape, raw.parts, names, named, reading)
    admitted = chosen_by(reading, candidates)
    fit = fitting(admitted, columns, values)
    warnings: tuple[str, ...] = ()
    is_said = (reading.landmarks, reading.coords, reading.layout) != ("auto", "auto", None)
    if not fit and is_said:
        fit = [one for one in admitted if not one.left_out]
        if len(fit) == 1 and not (fit[0].forms == ("xyc",) and _may_have_confidences(fit[0], columns)):
            warnings = (
                f"the numbers do not look like {fit[0]}, as which they are read: {_why_not(fit[0], columns)}; "
                "check --landmarks and --coords",
            )
    if len(fit) != 1 or (size in _ALSO_OTHERS and len(shape) == 1 and not is_said and named is None):
        raise UserError(_question(raw.name, shape, fit or candidates, columns, names, reading))
    is_guess = reading.coords == "auto" and (named is None or raw.parts is not None)
    if is_guess and fit[0].forms == ("xyz",) and _may_have_confidences(fit[0], columns):
        warnings += (
            "the third number of each point is read as z, but it is never below 0 or above 1: if it is a confidence, give "
            "--coords xyc; if it is z, --coords xyz",
        )
    keeps_face = any(token.split(".")[0] == "face" for token in tokens_of(reading.keep or ""))
    read_as = _interpretation(fit[0], shape, columns, names, named, keeps_face)
    if own is not None:
        read_as = _with_layout(read_as, replace(own.layout, num_coords=read_as.layout.num_coords))
    return replace(read_as, warnings=warnings)


def _own_candidates(
    layout: LandmarkLayout, shape: Sequence[int], names: Sequence[str] | None, reading: Reading
) -> list[Candidate]:
    """Return how the numbers of a frame can be the landmarks of a file."""
    forms = [form for form in FORMS if len(shape) == 1 or len(form) == shape[1]]
    found = [
        one
        for one in unknown_points(int(np.prod(shape)), forms, names)
        if len(one.parts[0].columns) == layout.num_landmarks
    ]
    if not chosen_by(reading, found):
        said = "" if reading.coords == "auto" else f" of {reading.coords}"
        raise UserError(
            f"--layout {reading.layout}: names {layout.num_landmarks} landmarks{said}, but a frame has {_size(shape)}; "
            "correct names or coords in it",
            option="layout",
        )
    return found


def _with_layout(read_as: Interpretation, layout: LandmarkLayout) -> Interpretation:
    """Return the interpretation of points with a layout that names them; each of its parts may be missing alone."""
    edges = sorted({0, layout.num_landmarks, *(edge for first, stop, _ in layout.parts for edge in (first, stop))})
    ranges = list(itertools.pairwise(edges))
    coords = read_as.parts[0]
    return replace(
        read_as,
        layout=layout,
        parts=tuple(coords[first:stop] for first, stop in ranges),
        part_of=np.repeat(np.arange(len(ranges)), np.diff(edges)),
    )


def _candidates(
    shape: Sequence[int],
    parts: tuple[str, ...] | None,
    names: Sequence[str] | None,
    named: NamedColumns | None,
    reading: Reading,
) -> list[Candidate]:
    size = int(np.prod(shape))
    if named is not None:
        return _named_candidates(named)
    if len(shape) == 2:
        forms = [form for form in FORMS if len(form) == shape[1]]
        found = known_points(shape[0], forms)
        if parts is not None:
            return [one for one in found if tuple(part.name for part in one.parts) == parts]
        # Points in space that no known part has, by the shape of their array.
        is_other = not found or reading.landmarks == "points"
        return unknown_points(size, forms) if is_other else found
    found = known(size, names)
    if parts is not None:
        return [one for one in found if tuple(part.name for part in one.parts) == parts]
    return unknown_points(size, FORMS, names) if reading.landmarks == "points" else found


def _named_candidates(named: NamedColumns) -> list[Candidate]:
    """Return the one thing, or the orders of parts, that named columns can be."""
    left_out = (LeftOut(what="other number", columns=np.array(named.others)),) if named.others else ()
    if named.parts:
        parts = sorted(named.parts, key=lambda part: ORDER.index(part.name))
        return [Candidate(kind=kind_of([part.name for part in parts]), parts=tuple(parts), left_out=left_out)]
    count = len(named.columns)
    plain = [name.replace("_finger_", "_") for name in named.points]  # OpenPose says index_mcp
    is_of_mediapipe = not plain or any(
        plain == [str(name).replace("_finger_", "_") for name in POINTS[part]] for part in ("hand", "pose")
    )
    found = known_points(count, [named.form]) if is_of_mediapipe else []
    if not found:
        part = Part(name=UNKNOWN, form=named.form, columns=named.columns)
        return [Candidate(kind="points", parts=(part,), left_out=left_out)]
    flat = named.columns.reshape(-1)
    return [
        replace(one, parts=tuple(replace(part, columns=flat[part.columns]) for part in one.parts), left_out=left_out)
        for one in found
    ]


def _interpretation(
    candidate: Candidate,
    shape: Sequence[int],
    columns: Columns,
    names: Sequence[str] | None,
    named: NamedColumns | None,
    keeps_face: bool,
) -> Interpretation:
    places: dict[str, tuple[np.ndarray, int, int]] = {}
    num_coords = 2 if len(candidate.parts) > 1 else candidate.parts[0].coords.shape[1]
    for number, part in enumerate(candidate.parts):
        flags = np.full(len(part.columns), -1) if part.flags is None else part.flags
        if part.form == "xyzv" and columns.dead[flags].all():
            flags = np.full(len(flags), -1)
        of_part = map(str, range(len(flags))) if part.name == UNKNOWN else names_of(part.name)
        for name, coords, flag in zip(of_part, part.coords, flags, strict=True):
            places[name] = (coords[:num_coords], int(flag), number)
    if candidate.kind == "points":
        layout = points(len(places), num_coords)
        if named is not None and named.points:
            layout = named_layout(named.points, num_coords)
        chosen = list(places.values())
    else:
        layout = compose(kept_parts(candidate, keeps_face), num_coords)
        chosen = [places[name] for name in layout.names]
    return Interpretation(
        layout=layout,
        places=np.stack([coords for coords, _, _ in chosen]),
        flags=np.array([flag for _, flag, _ in chosen]),
        parts=tuple(part.coords for part in candidate.parts),
        part_of=np.array([number for _, _, number in chosen]),
        points_may_be_lost=candidate.kind == "points" or candidate.forms == ("xy",),
        notes=_notes(candidate, shape, columns, names, keeps_face),
    )


def kept_parts(candidate: Candidate, keeps_face: bool) -> list[str]:
    """Return the parts that are kept: of a face beside other parts the lips, unless all of it is asked for."""
    parts = [part.name for part in candidate.parts]
    is_cut = len(parts) > 1 and not keeps_face
    return ["lips" if part.startswith("face") and is_cut else part for part in parts]


def _notes(
    candidate: Candidate, shape: Sequence[int], columns: Columns, names: Sequence[str] | None, keeps_face: bool
) -> tuple[str, ...]:
    """Return what the numbers are, if something of them is left out, and what."""
    gone = []
    flagged = [part for part in candidate.parts if part.form == "xyzv"]
    zero = [part.name for part in flagged if columns.dead[part.columns[:, 3]].all()]
    if zero:
        gone.append(f"visibility (0 in all frames{'' if len(zero) == len(candidate.parts) else f': {title_of(zero)}'})")
    elif flagged:
        gone.append("visibility (a point of visibility 0 is missing)")
    if any(part.form == "xyc" for part in candidate.parts):
        gone.append("confidence (a point of confidence 0 is missing)")
    for one in candidate.left_out:
        if one.what == "other number" and names is not None:
            gone.append("columns that are no coordinates: " + ", ".join(names[place] for place in one.columns))
    gone += [text for text in candidate.others if "other number" not in text]
    if len(candidate.parts) > 1 and any(part.coords.shape[1] > 2 for part in candidate.parts):
        gone.append("depth (the parts have different origins)")
    if "lips" in kept_parts(candidate, keeps_face) and "lips" not in [part.name for part in candidate.parts]:
        gone.append(f"all of the face but {len(POINTS['lips'])} points of the lips")
    return (f"{_size(shape)} a frame are {candidate}; left out: {'; '.join(gone)}",) if gone else ()


def _may_have_confidences(candidate: Candidate, columns: Columns) -> bool:
    return all(may_be_confidences(part, columns) for part in candidate.parts)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} points of {shape[1]} numbers" if len(shape) == 2 else f"{shape[0]} numbers"


def _why_not(candidate: Candidate, columns: Columns) -> str:
    for part in candidate.parts:
        if part.flags is not None and not columns.are_within(part.flags, 0.0, 1.0):
            return "their last numbers are not from 0 to 1"
    return "their ranges are other ones"


def _question(
    name: str,
    shape: Sequence[int],
    candidates: Sequence[Candidate],
    columns: Columns,
    names: Sequence[str] | None,
    reading: Reading,
) -> str:
    """Return the error that says what the numbers could be, and the options for each."""
    size = int(np.prod(shape))
    told = [one for one in candidates if one.is_usual or one.is_islr]
    answers = {one.options: f"{one} ({one.options})" for one in told if not one.left_out or _only_angles(one)}
    if not told and candidates:
        answers["order"] = f"{' or '.join(map(str, candidates))} (--layout FILE, which names the points in their order)"
    if size in _ALSO_OTHERS and len(shape) == 1:
        answers["other"] = f"{_ALSO_OTHERS[size]} (--landmarks points --coords xyz)"
    # A number that is the label or the time is left out.
    in_points = size - bool(columns.labels.any()) - bool(names and is_time(names[0]))
    ways = [
        f"{in_points // len(form)} (--coords {form})"
        for form in FORMS
        if (len(shape) == 1 and in_points % len(form) == 0) or (len(shape) == 2 and shape[1] == len(form))
    ]
    if ways and reading.landmarks != "points":
        answers["points"] = f"points of another kind: --landmarks points with {' or '.join(ways)}"
    answers["channels"] = "numbers without geometry, such as angles or sensors (--landmarks channels)"
    remarks = [f"number {place + 1} looks like the label" for place in np.flatnonzero(columns.labels)[:1].tolist()]
    remarks += [f"the first is the column {names[0]!r}"] if names and is_time(names[0]) else []
    said = [f"--landmarks {reading.landmarks}"] if reading.landmarks != "auto" else []
    said += [f"--coords {reading.coords}"] if reading.coords != "auto" else []
    said += [f"--layout {reading.layout}"] if reading.layout is not None else []
    is_none = bool(said) and not chosen_by(reading, candidates)
    if is_none:
        what = f"are not what {' '.join(said)} says"
    else:
        what = "may be several things" if candidates else "are of no known kind"
        what += f", also with {' '.join(said)}" if said else ""
    for others in (1, 2) if len(shape) == 1 and all(one.left_out for one in candidates) and not said else ():
        if nearly := _whole_bodies(size - others):
            remarks.append(
                f"{size - others} would be {' or '.join(nearly)}: if {others} of the columns "
                f"{'is no coordinate, remove it' if others == 1 else 'are no coordinates, remove them'}"
            )
    if len(shape) == 1 and not candidates:
        remarks += _flattened(size)
    remark = f" ({'; '.join(remarks)})" if remarks else ""
    return f"{name}: {_size(shape)} a frame {what}{remark}; say which: {'; '.join(answers.values())}"


def _flattened(size: int) -> list[str]:
    """Return what to do if so many numbers are the frames of a clip in a row."""
    ways = [
        f"{size // of_frame} frames of {of_frame} numbers"
        for of_frame in _OF_FRAME
        if size % of_frame == 0 and size // of_frame >= _FEWEST_FRAMES
    ]
    return [f"if they are {' or '.join(ways)} in a row, store them as [clips, frames, numbers]"] if ways else []


def _whole_bodies(size: int) -> list[str]:
    """Return what so many numbers would be, without anything beside the points."""
    return list(dict.fromkeys(str(one) for one in known(size) if not one.left_out))


def _only_angles(candidate: Candidate) -> bool:
    return all(one.what == "angle" for one in candidate.left_out)

"""Which candidates the numbers themselves admit: visibilities, confidences, angles and labels are known by their values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .candidates import Candidate, LeftOut, Part
from .columns import Columns

LARGEST_NORMALISED = 5.0
"""Coordinates in a picture of size 1, or in metres, are smaller; pixels are larger."""

_MOST_DEAD = 0.15
"""Of the x and y of a part that is there, the largest share that may be 0 in the whole set, if it can be something else."""

_FAR_FEWER = 10
"""Parts that are lost in part stand in the wrong place if those of another order are lost so much more rarely."""

_FEW_POINTS = 3
"""Fewer points may be 0 by chance."""

_AT_WRIST = 1e-4
"""MediaPipe measures the depth of a hand from its wrist, whose own is smaller."""

_WIDE, _AS_WIDE = 2.0, 0.8
"""A body lies wider apart than a hand or a face, unless each part was brought to one size."""

_MOST_FRAMES = 1000
"""Frames, from all of a set, that are looked at for parts that are lost."""


def fitting(candidates: Sequence[Candidate], columns: Columns, values: np.ndarray) -> list[Candidate]:
    """Return the candidates that the numbers of a set, [frames, numbers], admit; one, if they decide."""
    fit = [one for one in candidates if _fits(one, columns)]
    # A number that is certainly the label is a coordinate of nothing.
    fit = [one for one in fit if not columns.labels[one.coords].any()] or fit
    if len(fit) > 1:
        certain = [one for one in fit if _is_hand_with_visibility(one, columns, _some_of(values))]
        fit = certain or [one for one in fit if (one.kind, *one.forms) != ("hand", "xyzv")]
    if len(fit) > 1:
        fit = [one for one in fit if not _has_many_dead(one, columns)] or fit
    return _in_order(fit, columns, values) if any(not one.is_usual for one in fit) else fit


def _in_order(candidates: Sequence[Candidate], columns: Columns, values: np.ndarray) -> list[Candidate]:
    """Return the candidates whose parts stand where the numbers say; of several the usual order, but for Google's."""
    is_lost = ~(np.nan_to_num(_some_of(values)) != 0)
    partly = [_partly_missing(is_lost, one, columns) for one in candidates]
    fit = [
        one for one, count in zip(candidates, partly, strict=True) if _FAR_FEWER * count <= max(partly)
    ] or candidates
    wrists = [_wrists_without_depth(one, columns) for one in fit]
    fit = [one for one, count in zip(fit, wrists, strict=True) if count == max(wrists)] if max(wrists) > 1 else fit
    wide = [_width_of_body(one, columns) for one in fit]
    if max(wide) > _WIDE:
        fit = [one for one, width in zip(fit, wide, strict=True) if width >= _AS_WIDE or _WIDE * width > max(wide)]
    usual = [one for one in fit if one.is_usual]
    return [*usual, *(one for one in fit if one.is_islr)] if usual else list(fit)


def _some_of(values: np.ndarray) -> np.ndarray:
    """Return frames from all of a set."""
    return values[np.unique(np.linspace(0, len(values) - 1, _MOST_FRAMES).astype(int))]


def _fits(candidate: Candidate, columns: Columns) -> bool:
    return all(_is_left_out(one, candidate, columns) for one in candidate.left_out) and all(
        _part_fits(part, columns) for part in candidate.parts
    )


def _is_left_out(left_out: LeftOut, candidate: Candidate, columns: Columns) -> bool:
    places = left_out.columns
    if left_out.what == "label":
        return bool(columns.labels[places].all())
    if left_out.what == "angle":
        # In degrees, and beside coordinates that are much smaller; in radians they could be coordinates.
        return (
            columns.are_within(places, 0.0, 180.01)
            and columns.largest(places) > 2 * LARGEST_NORMALISED
            and columns.largest(candidate.coords) <= LARGEST_NORMALISED
        )
    return True


def _part_fits(part: Part, columns: Columns) -> bool:
    if part.form == "xyzv":
        visibility = part.columns[:, 3]
        # MediaPipe writes visibilities for all points of a part or, of hands and a face, for none.
        share = 1.0 - columns.dead[visibility].mean()
        return columns.are_within(visibility, 0.0, 1.0) and (share == 0 or share > 0.5)
    if part.form in ("xyz", "xyc"):
        return _has_confidences(part, columns) == (part.form == "xyc")
    return True


def _has_confidences(part: Part, columns: Columns) -> bool:
    """Return whether the third numbers are confidences: from 0 to 1 beside pixels, and 0 only where x and y are."""
    return may_be_confidences(part, columns) and columns.largest(part.columns[:, :2]) > LARGEST_NORMALISED


def may_be_confidences(part: Part, columns: Columns) -> bool:
    """Return whether the third numbers are from 0 to 1 and 0 only where x and y are; depths are near 0, and below it."""
    third, dead = part.columns[:, 2], columns.dead[part.columns]
    is_centred = bool(dead[0].all())  # a wrist that was subtracted
    return columns.are_within(third, 0.0, 1.0) and not is_centred and not (dead[:, 2] & ~dead[:, 0]).any()


def _is_hand_with_visibility(candidate: Candidate, columns: Columns, frames: np.ndarray) -> bool:
    """Return whether numbers are certainly x, y, z and a visibility of a hand: one number, or beside a depth that is one.

    A depth is 0 at the wrist, or it is below 0 where no other number is.
    """
    if (candidate.kind, *candidate.forms) != ("hand", "xyzv"):
        return False
    numbers = candidate.parts[0].columns
    dead, is_negative = columns.dead[numbers], columns.low[numbers] < 0
    others = np.delete(is_negative, 2, axis=1)
    flags = frames[:, numbers[:, 3]]
    found = np.unique(flags[~np.isnan(flags) & (flags != 0)])  # 0 where a hand is missing
    return (
        len(found) <= 1
        or bool(dead[0, 2] and not dead[0, :2].any())
        or bool(is_negative[:, 2].mean() >= 0.5 and not others.any())
    )


def _has_many_dead(candidate: Candidate, columns: Columns) -> bool:
    """Return whether many x and y are 0 in the whole set, in a part that is not."""
    shares = [columns.dead[part.coords[1:, :2]].mean() for part in candidate.parts]
    return any(_MOST_DEAD < share < 1 for share in shares)


def _partly_missing(is_lost: np.ndarray, candidate: Candidate, columns: Columns) -> int:
    """Return how often a part is missing in part, by frames [frames, numbers]: trackers lose them as a whole.

    Points that are 0 in the whole set tell nothing, nor does a lone one: the others may be measured from it.
    """
    count = 0
    for part in candidate.parts:
        points = part.coords[~columns.dead[part.coords[:, :2]].all(axis=1), :2]
        missing = is_lost[:, points].all(axis=2)
        lost = missing.sum(axis=1)
        count += int(((lost >= _FEW_POINTS) & (lost <= len(points) - _FEW_POINTS)).sum())
    return count


def _wrists_without_depth(candidate: Candidate, columns: Columns) -> int:
    """Return how many hands have a wrist whose depth is 0 while its x and y are not."""
    count = 0
    for part in candidate.parts:
        if part.name.endswith("hand") and part.coords.shape[1] == 3:
            x, y, z = part.coords[0].tolist()
            count += columns.largest(np.array([z])) <= _AT_WRIST and not columns.dead[[x, y]].any()
    return count


def _width_of_body(candidate: Candidate, columns: Columns) -> float:
    """Return how far apart the points of a pose lie, as a multiple of those of the widest other part."""
    middle = (columns.low + columns.high) / 2
    width = {part.name: float(np.nanstd(middle[part.coords[:, :2]], axis=0).mean()) for part in candidate.parts}
    others = max((size for name, size in width.items() if name != "pose" and size == size), default=0.0)
    return width.get("pose", 0.0) / others if others > 0 else 0.0

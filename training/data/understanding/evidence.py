"""Which candidates the numbers themselves admit: visibilities, confidences, angles and labels are known by their values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .candidates import Candidate, LeftOut, Part
from .columns import Columns, blocks

LARGEST_NORMALISED = 5.0
"""Coordinates in a picture of size 1, or in metres, are smaller; pixels are larger."""

_MOST_DEAD = 0.15
"""Of the x and y of a part that is there, the largest share that may be 0 in the whole set, if it can be something else."""

_FAR_FEWER = 10
"""Parts that are lost in part stand in the wrong place if those of another order are lost so much more rarely."""

_ALIKE, _WIDE = 1.3, 2.0
"""How far the points of a face, and of a body, are apart where it is 1 for most of a face."""


def fitting(candidates: Sequence[Candidate], columns: Columns, values: np.ndarray) -> list[Candidate]:
    """Return the candidates that the numbers of a set, [frames, numbers], admit; one, if they decide."""
    fit = [one for one in candidates if _fits(one, columns)]
    # A number that is certainly the label is a coordinate of nothing.
    fit = [one for one in fit if not columns.labels[one.coords].any()] or fit
    if len(fit) > 1:
        certain = [one for one in fit if _is_hand_with_visibility(one, columns)]
        fit = certain or [one for one in fit if (one.kind, *one.forms) != ("hand", "xyzv")]
    if len(fit) > 1:
        fit = [one for one in fit if not _has_many_dead(one, columns)] or fit
    if len(fit) > 1 and any(one.is_islr for one in fit):
        partly = [_partly_missing(values, one, columns) for one in fit]
        fit = [one for one, count in zip(fit, partly, strict=True) if _FAR_FEWER * count <= max(partly)] or fit
        fit = [one for one in fit if _is_body_in_place(one, columns)] or fit
    return fit


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
    third, dead = part.columns[:, 2], columns.dead[part.columns]
    is_centred = bool(dead[0].all())  # a wrist that was subtracted
    return (
        columns.are_within(third, 0.0, 1.0)
        and columns.largest(part.columns[:, :2]) > LARGEST_NORMALISED
        and not is_centred
        and not (dead[:, 2] & ~dead[:, 0]).any()
    )


def _is_hand_with_visibility(candidate: Candidate, columns: Columns) -> bool:
    """Return whether numbers are certainly x, y, z and a visibility of a hand: 0, or beside a depth that is one.

    A depth is 0 at the wrist, or it is below 0 where no other number is.
    """
    if (candidate.kind, *candidate.forms) != ("hand", "xyzv"):
        return False
    numbers = candidate.parts[0].columns
    dead, is_negative = columns.dead[numbers], columns.low[numbers] < 0
    others = np.delete(is_negative, 2, axis=1)
    return (
        bool(dead[:, 3].all())
        or bool(dead[0, 2] and not dead[0, :2].any())
        or bool(is_negative[:, 2].mean() >= 0.5 and not others.any())
    )


def _has_many_dead(candidate: Candidate, columns: Columns) -> bool:
    """Return whether many x and y are 0 in the whole set, in a part that is not."""
    shares = [columns.dead[part.coords[1:, :2]].mean() for part in candidate.parts]
    return any(_MOST_DEAD < share < 1 for share in shares)


def _partly_missing(values: np.ndarray, candidate: Candidate, columns: Columns) -> int:
    """Return how often a hand or a face is missing in part: trackers lose them as a whole.

    Numbers that are 0 in the whole set tell nothing: a point from which the others are measured has them.
    """
    count = 0
    live = [part.columns[~columns.dead[part.columns[:, 0]], 0] for part in candidate.parts if part.name != "pose"]
    for rows in blocks(values):
        for places in live:
            missing = ~(np.nan_to_num(values[rows][:, places]) != 0)
            count += int((missing.any(axis=1) & ~missing.all(axis=1)).sum())
    return count


def _is_body_in_place(candidate: Candidate, columns: Columns) -> bool:
    """Return whether the first points, or those of Google's pose, lie wide apart, and the others as near as a face's."""
    points = np.concatenate([part.coords[:, :2] for part in candidate.parts])
    points = points[np.argsort(points[:, 0])]
    middle = ((columns.low + columns.high) / 2)[points]
    first, face, late = (
        float(np.nanstd(part, axis=0).mean()) for part in (middle[:33], middle[33:468], middle[489:522])
    )
    if candidate.is_islr:
        return first < _ALIKE * face and late > _WIDE * face
    return first > _WIDE * face

"""What is doubtful in understood data: said at once, each with what to do, before anybody trains on them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from ...common.errors import UserError
from ..landmarks import LandmarkData
from .candidates import is_time
from .columns import Columns, blocks
from .evidence import LARGEST_NORMALISED
from .interpretation import Interpretation
from .summary import landmark_names, missing_by_landmark

_MOST_NAMED = 5
_MEASURED = 10
"""So many classes that are decimal numbers are no names."""
_NO_LABELS = ("nan", "none", "null", "<na>", "n/a", "nat")
_PIXELS = 4 * LARGEST_NORMALISED
"""Coordinates that are larger are pixels, in clips beside others in a picture of size 1."""


def find_doubts(
    data: LandmarkData, read_as: Interpretation, columns: Columns, names: Sequence[str] | None
) -> tuple[str, ...]:
    """Return what is doubtful, one sentence each; `names` are those of the numbers of a frame.

    Raises `UserError` for data of which everything is missing.
    """
    missing = missing_by_landmark(data.values)
    if (missing == 1).all():
        raise UserError(
            f"{data.name}: every landmark of every clip is missing (0, NaN, or of visibility 0); record them again, or "
            "give --landmarks channels if 0 is a value of these numbers"
        )
    return (
        *_of_classes(data),
        *_of_numbers(read_as, columns, names),
        *_of_landmarks(data, missing),
        *_of_frames(data),
        *_of_scales(data, read_as, columns),
    )


def _of_classes(data: LandmarkData) -> Iterator[str]:
    used = np.unique(data.labels)
    if len(data) == 1:
        yield "there is one clip only, and nothing to validate or test on: add clips"
    elif len(used) == 1:
        yield (
            f"all {len(data):,} clips are of one class, {data.class_names[used[0]]!r}, so there is nothing to tell apart: "
            "add clips of another one, or name the column of the class with --label"
        )
    elif blank := [name for name in (data.class_names[number] for number in used) if name.lower() in _NO_LABELS]:
        yield (
            f"{blank[0]!r} is learned as a class, and is what a program writes for a missing label: if it is one, label these "
            "clips or remove them"
        )
    spelled: dict[str, list[str]] = {}
    for number in used:
        spelled.setdefault(data.class_names[number].casefold(), []).append(data.class_names[number])
    if alike := [names for names in spelled.values() if len(names) > 1]:
        yield (
            f"the classes {' and '.join(map(repr, alike[0]))} differ only in upper and lower case: if they are one, spell "
            "them alike"
        )
    if len(used) >= _MEASURED and _are_measured([data.class_names[number] for number in used]):
        yield (
            f"the {len(used):,} classes are decimal numbers, as of something measured: name the column of the class with "
            "--label; a number is not predicted"
        )
    elif len(used) == len(data) > 1:
        yield (
            f"each of the {len(data):,} clips has a class of its own, as if they were numbered: name the column of the "
            "class with --label, or add clips to each class"
        )


def _are_measured(names: Sequence[str]) -> bool:
    numbers = [name for name in names if re.fullmatch(r"-?\d*\.?\d+(e-?\d+)?", name, re.IGNORECASE)]
    return len(numbers) == len(names) and sum("." in name for name in names) * 2 > len(names)


def _of_numbers(read_as: Interpretation, columns: Columns, names: Sequence[str] | None) -> Iterator[str]:
    kept = np.zeros(len(columns.leaks), dtype=bool)
    kept[read_as.places.reshape(-1)] = True
    leaks = np.flatnonzero(columns.leaks & kept).tolist()
    if leaks:
        shown = ", ".join(_number(place, names) for place in leaks[:_MOST_NAMED]) + _more(leaks)
        yield (
            f"of the numbers of a frame, {shown} {'is' if len(leaks) == 1 else 'are'} the same in all of a class and not in "
            "all classes: a label among the numbers makes every test look perfect; remove it from the files"
        )
    if names and is_time(names[0]) and kept[0]:
        yield (
            f"the first number of a frame is the column {names[0]!r}, and is trained on like the others: remove the column "
            "if it counts time or frames"
        )


def _of_landmarks(data: LandmarkData, missing: np.ndarray) -> Iterator[str]:
    never = missing == 1
    if not never.any():
        return
    names = landmark_names(data.layout)
    part_of = np.array([name.rpartition(".")[0] for name in names])
    gone: list[str] = []
    for part in dict.fromkeys(part_of[never].tolist()):
        is_of = part_of == part
        if part and never[is_of].all():
            gone.append(f"{part} ({int(is_of.sum())} landmarks)")
        else:
            gone += [names[point] for point in np.flatnonzero(never & is_of)]
    kept = dict.fromkeys(part for part in part_of[~never].tolist() if part)
    others = f", as {','.join(kept)}" if kept and all(name.endswith("landmarks)") for name in gone) else ""
    yield (
        f"never present in any clip: {', '.join(gone[:_MOST_NAMED])}{_more(gone)}; to leave them out, name the others with "
        f"--keep-landmarks{others}"
    )


def _of_frames(data: LandmarkData) -> Iterator[str]:
    several = np.flatnonzero(np.diff(data.offsets) > 1)
    if len(several) and all(_repeats_one(data.clip(index)) for index in several.tolist()):
        yield (
            f"in each of the {len(several):,} clips of several frames all frames are the same: look at how they were "
            "recorded, or give each clip one frame"
        )


def _of_scales(data: LandmarkData, read_as: Interpretation, columns: Columns) -> Iterator[str]:
    if not data.layout.spatial or columns.largest(read_as.places[:, :2].reshape(-1)) <= _PIXELS:
        return
    largest = np.zeros(len(data.values), dtype=np.float32)
    for rows in blocks(data.values):
        np.fmax.reduce(np.abs(data.values[rows, :, :2]), axis=(1, 2), initial=0.0, out=largest[rows])
    of_clip = np.maximum.reduceat(largest, data.offsets[:-1])
    pixels, normalised = of_clip > _PIXELS, (of_clip > 0) & (of_clip <= LARGEST_NORMALISED)
    if pixels.any() and normalised.any():
        fewer = pixels if pixels.sum() <= normalised.sum() else normalised
        yield (
            f"{int(pixels.sum()):,} clips hold coordinates up to {of_clip.max():.0f}, as of pixels, and "
            f"{int(normalised.sum()):,} only up to {of_clip[normalised].max():.2g}: write all in one unit; the first of the "
            f"fewer is {data.where(int(np.argmax(fewer)))}"
        )


def _repeats_one(clip: np.ndarray) -> bool:
    return bool(((clip == clip[:1]) | (np.isnan(clip) & np.isnan(clip[:1]))).all())


def _number(place: int, names: Sequence[str] | None) -> str:
    return f"number {place + 1}" + (f" ({names[place]})" if names else "")


def _more(items: Sequence[object]) -> str:
    return f" and {len(items) - _MOST_NAMED} more" if len(items) > _MOST_NAMED else ""

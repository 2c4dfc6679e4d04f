"""Reads windows cut from recordings, a file each: `seq_come_1627646273.npy` [windows, frames, numbers], the label last.

kairess/gesture-recognition, the Korean gesture tutorial, writes 99 numbers of a hand and the number of the class in each frame,
and `raw_` files of the same frames beside; others name a file after a video, such as `ㄱ_오른손_idx_1_1-0mp4.npy`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ....common.errors import UserError
from ...specs import Reading
from ...text import files_with, nfc
from ..numpy_files import StoredArray, stored_arrays
from ..raw import Faults, RawClips
from .clip_arrays import drop_last_number
from .folder_tree import is_numbered
from .forms import MOST_COORDS
from .pairs import role_of

NAME = "windows"
LOOKS_FOR = "seq_<class>_<time>.npy [windows, frames, numbers]"
USES: tuple[str, ...] = ()

_SEQ, _RAW = "seq_", "raw_"
_MOST_SHOWN = 3


def detect(path: Path) -> bool:
    """Return whether a folder holds `.npy` files of windows, without an X or y among them."""
    if not path.is_dir():
        return False
    files = _files(path)
    if not files or any((role := role_of(file.stem)) and role.is_strong for file in files):
        return False
    named = [file for file in files if file.name.lower().startswith(_SEQ)]
    if not named and (len(files) < 2 or is_numbered([file.stem for file in files])):
        return False
    try:
        return all(_is_windows(array) for file in (named or files) for array in stored_arrays(file))
    except UserError:
        return bool(named)


def read(path: Path, reading: Reading) -> RawClips:
    """Return the windows of a folder as clips; a file is a recording.

    The class is in the name of the file, and its number in the last column of all its frames, which is left out. Raises
    `UserError` for a file with several labels, and for names and numbers that do not agree.
    """
    files = _files(path) if path.is_dir() else []
    named = [file for file in files if file.name.lower().startswith(_SEQ)]
    files = named or files
    if not files:
        raise UserError(f"{path}: no .npy files in it; name a folder of {LOOKS_FOR}")
    arrays = [array for file in files for array in stored_arrays(file)]
    faults = Faults(path)
    for array in arrays:
        if not _is_windows(array):
            faults.add(
                f"{array}: {array.header.dtype} {list(array.shape)}; windows are numbers [windows, frames, numbers]"
            )
        elif array.shape[1:] != arrays[0].shape[1:] and _is_windows(arrays[0]):
            faults.add(
                f"{array}: windows of {list(array.shape[1:])}, where {arrays[0]} has {list(arrays[0].shape[1:])}"
            )
    faults.check()
    frames, numbers = arrays[0].shape[1:]
    counts = [array.shape[0] for array in arrays]
    values = np.empty((sum(counts) * frames, numbers), dtype=np.float32)
    ends = np.cumsum([0, *counts])
    for array, start, stop in zip(arrays, ends[:-1] * frames, ends[1:] * frames, strict=True):
        array.read_into(values[start:stop])
    parts = np.split(values, ends[1:-1] * frames)
    labels = _labels(files, parts, faults)
    names = _class_names(files, labels, faults)
    faults.check()
    notes = [] if not named else _beside(path)
    if step := _step(parts, frames):
        notes.append(
            f"windows overlap: each begins {step} {'frame' if step == 1 else 'frames'} after the one before it in its file"
        )
    if labels is not None:
        values = drop_last_number(values)
        notes.append("the last number of each frame is its label and is left out")
    else:
        notes.append("no column of labels; the class is what the name of the file says")
    recordings = [nfc(file.stem) for file in files]

    def where(index: int) -> str:
        part = int(np.searchsorted(ends, index, side="right")) - 1
        return f"{arrays[part]}, window {index - int(ends[part])}"

    def of_windows(texts: Sequence[str]) -> list[str]:
        return [text for text, count in zip(texts, counts, strict=True) for _ in range(count)]

    return RawClips(
        name=nfc(path.resolve().name),
        source_format=NAME,
        values=values,
        offsets=np.arange(int(ends[-1]) + 1, dtype=np.int64) * frames,
        labels=of_windows(names),
        class_names=_in_order(names, labels),
        groups={"recording": of_windows(recordings)},
        notes=tuple(notes),
        where=where,
    )


def _files(path: Path) -> list[Path]:
    return [file for file in files_with(path, ".npy") if not file.name.lower().startswith(_RAW)]


def _is_windows(array: StoredArray) -> bool:
    shape = array.shape
    return array.header.is_numbers and len(shape) == 3 and 0 not in shape and shape[2] > MOST_COORDS


def _beside(path: Path) -> list[str]:
    """Return a note for other arrays beside those named as windows."""
    others = [file.name for file in files_with(path, ".npy") if not file.name.lower().startswith(_SEQ)]
    rest = len(others) - _MOST_SHOWN
    shown = ", ".join(map(nfc, others[:_MOST_SHOWN])) + (f" and {rest:,} more" if rest > 0 else "")
    return [f"the windows of the seq_ files are read; {len(others):,} other files are not: {shown}"] if others else []


def _labels(files: Sequence[Path], parts: Sequence[np.ndarray], faults: Faults) -> list[int] | None:
    """Return the number of the class of each file by its last column; None if that holds no labels."""
    columns = [part[:, -1] for part in parts]
    whole = [bool((column == np.round(column)).all()) for column in columns]
    if not any(whole):
        return None
    for file, column, is_whole in zip(files, columns, whole, strict=True):
        different = np.unique(column)
        if not is_whole:
            faults.add(
                f"{file}: the last column holds {different[0]:g} ..., not the number of a class as in other files"
            )
        elif len(different) > 1:
            shown = ", ".join(f"{value:g}" for value in different[:_MOST_SHOWN])
            more = " ..." if len(different) > _MOST_SHOWN else ""
            faults.add(f"{file}: its last column holds several labels ({shown}{more}); store a file for each class")
    faults.check()
    return [int(column[0]) for column in columns]


def _class_names(files: Sequence[Path], labels: Sequence[int] | None, faults: Faults) -> list[str]:
    """Return the class of each file: what its name says before numbers, without what all names end in."""
    words = [_words(file) for file in files]
    different = [list(key) for key in dict.fromkeys(map(tuple, words))]
    while len(different) > 1 and all(len(key) > 1 and key[-1] == different[0][-1] for key in different):
        words = [key[:-1] for key in words]
        different = [list(key) for key in dict.fromkeys(map(tuple, words))]
    if labels is None:
        return ["_".join(key) for key in words]
    names: dict[int, str] = {}
    for label in sorted(set(labels)):
        of_label = [(file, key) for file, key, other in zip(files, words, labels, strict=True) if other == label]
        common = of_label[0][1]
        for _, key in of_label[1:]:
            common = common[: _equal(common, key)]
        if not common:
            shown = " and ".join(dict.fromkeys(nfc(file.name) for file, _ in of_label[:_MOST_SHOWN]))
            faults.add(
                f"label {label} stands in {shown}, whose names begin differently; name the files of a class alike"
            )
        names[label] = "_".join(common)
    for label, name in names.items():
        other = next((other for other in names if other < label and names[other] == name), None)
        if name and other is not None:
            shown = " and ".join(
                next(nfc(file.name) for file, of_file in zip(files, labels, strict=True) if of_file == number)
                for number in (other, label)
            )
            faults.add(f"{shown} both say {name!r}, but have the labels {other} and {label}; name or label them alike")
    return [names[label] for label in labels]


def _words(file: Path) -> list[str]:
    """Return the words of a name up to the first one with a digit: seq_come_1627646273 is come."""
    stem = nfc(file.stem)
    words = [word for word in stem.removeprefix(_SEQ).split("_") if word] or [stem]
    count = next((place for place, word in enumerate(words) if place and re.search(r"[0-9]", word)), len(words))
    return words[:count]


def _equal(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many words two names have in common at their start."""
    count = min(len(one), len(other))
    return next((place for place in range(count) if one[place] != other[place]), count)


def _step(parts: Sequence[np.ndarray], frames: int) -> int:
    """Return after how many frames the next window begins, 0 if windows do not overlap."""
    part = next((part for part in parts if len(part) >= 2 * frames), None)
    if part is None:
        return 0
    first, second = part[:frames], part[frames : 2 * frames]
    return next((step for step in range(1, frames) if np.array_equal(first[step:], second[:-step], equal_nan=True)), 0)


def _in_order(names: Sequence[str], labels: Sequence[int] | None) -> list[str] | None:
    """Return the classes in the order of their numbers."""
    return None if labels is None else list(dict(sorted(zip(labels, names, strict=True))).values())

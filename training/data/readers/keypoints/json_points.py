"""Reads points in JSON as people's own collectors write them: objects {x, y, z}, lists, or points by name, with their class.

A file is a list of objects with a label and landmarks, an object of samples by class (xchanti124/sign-language-interpreter),
or two lists side by side, `data` and `labels`; a folder has a file for each class, or for each clip in folders of classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....common.errors import UserError
from ...layouts.mediapipe import POINTS
from ...specs import Reading
from ...text import (
    LABEL_COLUMNS,
    LANDMARK_COLUMNS,
    SIGNER_COLUMNS,
    files_with,
    find_column,
    folders_in,
    nfc,
    once_a_read,
    plain_label,
    read_text,
)
from ..arrays.body_parts import names_of_parts, parts_among
from ..arrays.forms import KNOWN_POINTS, MOST_COORDS
from ..raw import Faults, RawClips, raw_clips
from ..tables.columns import unknown_column
from ..walk import first_file
from . import aihub, mediapipe_json, openpose

NAME = "json_points"
LOOKS_FOR = "JSON of points {x, y, z} or lists, by class or with a label"
USES: tuple[str, ...] = ("label", "signer")

_MOST_BYTES = 1 << 30
_FEWEST_NUMBERS = 8
"""Of a frame, so that settings are not taken for landmarks."""
_LANDMARKS = (*LANDMARK_COLUMNS, "landmark", "keypoint", "coords", "coordinates", "handlandmarks", "features", "x")
_FRAMES = ("frames", "sequence", "sequences")
_LABELS = (*LABEL_COLUMNS, "y", "targets", "classes")
_AXES = ("x", "y", "z")
_FLAGS = ("visibility", "confidence", "score", "v", "c")


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """A clip as it stands in a file."""

    value: Any
    label: str
    others: Mapping[str, str]
    """Texts that stand beside it, by their keys."""
    where: str


def detect(path: Path) -> bool:
    """Return whether a JSON file, the files of a folder, or those in its folders of classes, hold such points."""
    files = _files(path)
    if path.is_dir() and first_file(path, ".npy", ".npz", ".csv", ".tsv", ".parquet") is not None:
        return False
    if not files or any(reader.detect(path) for reader in (mediapipe_json, openpose, aihub)):
        return False
    first = next(iter(files))
    try:
        samples = list(_samples(first, _content(first, None), files[first], None))
        clip = _array(samples[0].value, set()) if samples and (len(files) > 1 or not _is_for_hub(samples)) else None
        return clip is not None and clip[0].size >= _FEWEST_NUMBERS
    except (ValueError, TypeError, RecursionError, UserError, OSError):
        return False


def read(path: Path, reading: Reading) -> RawClips:
    """Return the samples of a file or of a folder's files as clips.

    A point without one of its numbers and a frame of `null` are missing. Raises `UserError` with all faults.
    """
    faults = Faults(path)
    clips: list[np.ndarray] = []
    samples: list[_Sample] = []
    names: list[str] | None = None
    first_order: tuple[str, ...] = ()
    for file, label in _files(path).items():
        try:
            found = list(_samples(file, _content(file, reading.encoding), label, reading.label))
        except (ValueError, RecursionError):
            faults.add(f"{file}: is not complete JSON; write it again")
            continue
        for sample in found:
            names = names or _names_of(sample.value)
            orders: set[tuple[str, ...]] = {first_order} if first_order else set()
            try:
                clip = _array(sample.value, orders)
            except (ValueError, TypeError):
                clip = None
            if clip is None:
                faults.add(f"{sample.where}: is no clip of points of equal size; write [frames][points][coords]")
                continue
            if len(orders) > 1:
                faults.add(f"{sample.where}: its points have other names, or stand in another order, than those before")
                continue
            first_order = next(iter(orders), ())
            clips.append(clip)
            samples.append(sample)
    for clip, sample in zip(clips, samples, strict=True):
        if clip.shape[1:] != clips[0].shape[1:]:
            faults.add(
                f"{sample.where}: frames of {list(clip.shape[1:])}, where {samples[0].where} has {list(clips[0].shape[1:])}"
            )
    faults.check()
    if not clips and reading.label is not None:
        raise UserError(
            f"{path}: --label {reading.label}: no such key beside its landmarks; leave it out", option="label"
        )
    if not clips:
        raise UserError(f"{path}: no {LOOKS_FOR} in it")
    kinds = list(dict.fromkeys(kind for sample in samples for kind in sample.others))
    if reading.signer is not None and reading.signer not in kinds:
        raise unknown_column(kinds, reading.signer, "signer", path)
    signer = find_column(kinds, SIGNER_COLUMNS) if reading.signer is None else None
    signer_kind = reading.signer or (kinds[signer] if signer is not None else None)
    return raw_clips(
        name=nfc(path.resolve().name if path.is_dir() else path.stem),
        source_format=NAME,
        clips=clips,
        labels=[sample.label for sample in samples],
        groups={
            "signer" if kind == signer_kind else kind: [sample.others.get(kind, "") for sample in samples]
            for kind in kinds
        },
        number_names=None if names is None else names[: int(np.prod(clips[0].shape[1:]))],
        where=[sample.where for sample in samples].__getitem__,
    )


def _files(path: Path) -> dict[Path, str | None]:
    """Return the files of a path with the class of each; `None` where the file says it itself."""
    if path.is_file():
        return {path: None} if path.suffix.lower() == ".json" and path.stat().st_size <= _MOST_BYTES else {}
    own = files_with(path, ".json")
    if len(own) == 1:
        return {own[0]: None}
    if own:
        return {file: nfc(file.stem) for file in own}
    return {file: nfc(folder.name) for folder in folders_in(path) for file in files_with(folder, ".json")}


@once_a_read
def _content(file: Path, encoding: str | None) -> Any:
    return json.loads(read_text(file, encoding))


def _samples(file: Path, content: Any, label: str | None, label_key: str | None) -> Iterator[_Sample]:
    """Yield the samples of a file, of a class that its name or folder says, or that stands in it."""

    def sample(value: Any, of: object, place: object, others: Mapping[str, str] | None = None) -> _Sample:
        return _Sample(value=value, label=plain_label(of), others=others or {}, where=f"{file}, {place}")

    if label is not None and label_key is None:
        # A file of a class holds its samples; one in the folder of a class is a clip.
        several = _samples_of_class(content) if nfc(file.stem) == label else [content]
        yield from (sample(value, label, f"sample {number}") for number, value in enumerate(several))
        return
    if isinstance(content, list):
        for number, entry in enumerate(content):
            keys = list(entry) if isinstance(entry, dict) else []
            at = _key(keys, (label_key,) if label_key else LABEL_COLUMNS)
            if at is None or isinstance(entry[at], dict | list):
                return
            others = {key: plain_label(value) for key, value in entry.items() if isinstance(value, str) and key != at}
            yield sample(entry, entry[at], f"sample {number}", others)
        return
    if not isinstance(content, dict):
        return
    if {"annotations", "categories"} <= content.keys():  # of COCO, which has a message of its own
        return
    of_labelled = [value for value in content.values() if _are_labelled(value, label_key)]
    if len(of_labelled) == 1:  # beside what is said of all samples
        yield from _samples(file, of_labelled[0], None, label_key)
        return
    data, labels = _key(list(content), _LANDMARKS), _key(list(content), (label_key,) if label_key else _LABELS)
    if data is not None and labels is not None:
        if isinstance(content[data], list) and isinstance(content[labels], list):
            if len(content[data]) != len(content[labels]):
                raise UserError(
                    f"{file}: {len(content[data]):,} {data}, but {len(content[labels]):,} {labels}; one for each"
                )
            for number, (value, of) in enumerate(zip(content[data], content[labels], strict=True)):
                yield sample(value, of, f"sample {number}")
        return
    if all(isinstance(value, list) for value in content.values()) and data is None and label_key is None:
        for of, values in content.items():
            yield from (sample(value, of, f"{of}, sample {number}") for number, value in enumerate(values))


def _are_labelled(value: Any, label_key: str | None) -> bool:
    """Return whether a value is a list of objects with a class each."""
    names = (label_key,) if label_key else LABEL_COLUMNS
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, dict) and _key(list(one), names) for one in value)
    )


def _samples_of_class(content: Any) -> list[Any]:
    if isinstance(content, dict):
        data = _key(list(content), (*_LANDMARKS, "samples"))
        content = content[data] if data is not None else content
    return content if isinstance(content, list) and _depth(content) > 1 and _depth(content[0]) > 0 else [content]


def _is_for_hub(samples: Sequence[_Sample]) -> bool:
    """Return whether samples are objects with plain lists of landmarks, which is a data set's own form."""
    value = samples[0].value
    if parts_among(value if isinstance(value, dict) else ()):
        return False
    key = _key(list(value), LANDMARK_COLUMNS) if isinstance(value, dict) else None
    return key is not None and all(_is_plain(sample.value.get(key)) for sample in samples)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return isinstance(value, int | float)


def _key(keys: Sequence[str], names: Sequence[str]) -> str | None:
    if len(names) == 1 and names[0] in keys:
        return names[0]
    place = find_column(keys, names)
    return None if place is None else keys[place]


def _array(value: Any, orders: set[tuple[str, ...]]) -> np.ndarray | None:
    """Return a clip, float32 [frames, numbers] or [frames, points, coords]; `None` if it is none.

    The names of points go to `orders`, in each order in which they stand.
    Raises `ValueError` and `TypeError` for lists of unequal length and for texts.
    """
    if (joined := _joined(value)) is not None:
        orders.add(tuple(joined[1]))
        return joined[0]
    plain = _plain(value, orders)
    present = [inner for inner in plain if inner is not None] if isinstance(plain, list) else []
    if not present:
        return None
    if isinstance(present[0], list) and len(present) < len(plain):
        empty = np.full(np.shape(present[0]), np.nan)
        plain = [empty if inner is None else inner for inner in plain]
    numbers = np.array(plain, dtype=np.float32)
    if numbers.ndim == 1:
        return numbers[None]
    if numbers.ndim == 2 and numbers.shape[1] <= MOST_COORDS:
        is_frame = numbers.shape[0] in KNOWN_POINTS or _names_of(value) is not None or _has_points(value)
        return numbers[None] if is_frame else None
    return numbers if numbers.ndim in (2, 3) and (numbers.ndim == 2 or numbers.shape[2] <= MOST_COORDS) else None


def _plain(value: Any, orders: set[tuple[str, ...]]) -> Any:
    """Return nested lists of numbers of lists, points, points by name, and objects around them."""
    if isinstance(value, list):
        return [_plain(inner, orders) for inner in value]
    if not isinstance(value, dict):
        return None if value is None else float(value)
    if (axes := _axes(value)) is not None:
        return [float("nan") if value[axis] is None else float(value[axis]) for axis in axes]
    if all(isinstance(inner, dict) and _axes(inner) for inner in value.values()) and value:
        orders.add(tuple(value))
        return [_plain(inner, orders) for inner in value.values()]
    key = _key(list(value), _FRAMES) or _key(list(value), _LANDMARKS)
    if key is None:
        raise ValueError
    return _plain(value[key], orders)


def _joined(value: Any) -> tuple[np.ndarray, list[str]] | None:
    """Return a clip whose frames, or which itself, has a list for each part of the body, and the names of its numbers.

    Raises `ValueError` and `TypeError` as `_array` does.
    """
    while isinstance(value, dict) and not parts_among(value):
        key = _key(list(value), _FRAMES) or _key(list(value), _LANDMARKS)
        if key is None:
            return None
        value = value[key]
    if isinstance(value, dict):
        named = {part: value[key] for part, key in parts_among(value).items()}
        frames = max(len(of_part or ()) for of_part in named.values())
        of_parts = {part: of_part or [None] * frames for part, of_part in named.items()}
    elif isinstance(value, list) and value and all(isinstance(frame, dict) for frame in value):
        named = parts_among(key for frame in value for key in frame)
        of_parts = {part: [frame.get(key) for frame in value] for part, key in named.items()}
    else:
        return None
    if not of_parts:
        return None
    arrays = {part: _of_part([_plain(frame or None, set()) for frame in frames]) for part, frames in of_parts.items()}
    seen = {part: array for part, array in arrays.items() if array is not None}
    if not seen:
        return None
    length = len(next(iter(of_parts.values())))
    if all(array.ndim == 2 and array.shape[1] <= MOST_COORDS for array in seen.values()):  # one frame
        seen, length = {part: array[None] for part, array in seen.items()}, 1
    part, array = next(reversed(seen.items()))
    coords = array.shape[2] if array.ndim == 3 else array.shape[1] // len(POINTS[part])
    complete = {
        part: seen[part] if part in seen else np.full((length, len(POINTS[part]), coords), np.nan) for part in arrays
    }
    try:
        length, names = names_of_parts("", {part: array.shape for part, array in complete.items()})
    except UserError:
        raise ValueError from None
    return np.concatenate([array.reshape(length, -1) for array in complete.values()], axis=1).astype(np.float32), names


def _of_part(frames: Sequence[Any]) -> np.ndarray | None:
    """Return the points of a part, [frames, points, coords], missing as NaN where it is not seen; `None` if it never is."""
    seen = [np.array(frame, dtype=np.float32) for frame in frames if frame is not None]
    if not seen:
        return None
    values = np.full((len(frames), *seen[0].shape), np.nan, dtype=np.float32)
    values[[frame is not None for frame in frames]] = seen
    return values


def _axes(point: Mapping[str, Any]) -> list[str] | None:
    """Return the keys of a point's numbers in order; `None` for what is no point."""
    lower = {key.lower(): key for key in point}
    if not {"x", "y"} <= lower.keys() or isinstance(point[lower["x"]], dict | list):
        return None
    return [lower[name] for name in (*_AXES, *_FLAGS) if name in lower]


def _inner(value: Any) -> Any:
    while (
        isinstance(value, dict)
        and _axes(value) is None
        and not all(isinstance(inner, dict) for inner in value.values())
    ):
        key = _key(list(value), _FRAMES) or _key(list(value), _LANDMARKS)
        if key is None:
            return value
        value = value[key]
    return value


def _has_points(value: Any) -> bool:
    """Return whether a sample is a list of objects that are points."""
    value = _inner(value)
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and _axes(value[0]) is not None


def _names_of(value: Any) -> list[str] | None:
    """Return the names of the numbers of a sample whose points stand by name, such as `wrist_x`; `None` for another."""
    if (joined := _joined(value)) is not None:
        return joined[1]
    value = _inner(value)
    if isinstance(value, list) and value:
        value = _inner(value[0])
    if not isinstance(value, dict) or _axes(value) is not None:
        return None
    return [
        f"{name}_{axis}"
        for name, point in value.items()
        for axis in ((_axes(point) if isinstance(point, dict) else None) or [])
    ]


def _depth(value: Any) -> int:
    """Return how deep lists are nested, a point counted as one."""
    if isinstance(value, list):
        return 1 + (_depth(value[0]) if value else 0)
    return 1 if isinstance(value, dict) else 0

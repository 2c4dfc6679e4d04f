"""Makes clips of arrays of clips and their labels: of any number of frames, padded or end to end, of one split or several."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ....common.errors import UserError
from ...landmarks import SIGNER
from ...specs import Reading
from ...text import nfc, plain_label, split_name
from ..label_names import ClassNames, names_beside_arrays, names_of_array
from ..numpy_files import StoredArray
from ..raw import Faults, RawClips
from ..refusals import lines
from .axes import turned
from .forms import KNOWN_POINTS, MOST_COORDS
from .labels import decode_labels, name_labels
from .pairs import GROUPS, LENGTHS, OFFSETS, SIGNERS, SPLITS, Found, Pair, X, Y

_BLOCK_ROWS = 1 << 14


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """How the array of a pair is divided into clips."""

    array: StoredArray
    frame_shape: tuple[int, ...]
    stored_frames: int
    """Of the array, with its padding."""
    lengths: np.ndarray
    """int64 [clips]: the frames of each."""
    padded_to: int | None = None
    """Frames that each clip takes in the array; None: only its own."""
    note: str = ""


def read_pairs(found: Found, reading: Reading, *, name: str, source_format: str, folder: Path) -> RawClips:
    """Return the clips of arrays; `folder` may hold the names of their classes."""
    faults = Faults(folder)
    plans = [_plan(pair, reading) for pair in found.pairs]
    first = plans[0]
    for plan in plans:
        if plan.frame_shape != first.frame_shape:
            faults.add(
                f"{plan.array}: frames of {list(plan.frame_shape)}, where those of {first.array} are {list(first.frame_shape)}"
            )
    labels, columns = [], None
    for pair, plan in zip(found.pairs, plans, strict=True):
        y = pair.arrays[Y]
        if y.shape[:1] != plan.lengths.shape:
            faults.add(
                f"{plan.array} has {len(plan.lengths):,} clips, but {y} has {list(y.shape)} labels; store one for each clip"
            )
            continue
        decoded = decode_labels(y.load(), str(y), faults)
        columns = y.shape[1] if len(y.shape) == 2 and y.shape[1] > 1 else columns
        if decoded is not None:
            labels.append(decoded)
    faults.check()
    files = list(dict.fromkeys(array.file.name for pair in found.pairs for array in pair.arrays.values()))
    names, warnings = _class_names(found.names, folder, reading, files)
    texts, class_names, notes = name_labels(labels, names, columns, str(found.pairs[0].arrays[Y]), faults)
    faults.check()
    values, offsets = _read(plans)
    if _is_label_column(values, offsets, labels):
        values = drop_last_number(values)
        notes.append("the last number of each frame is its label and is left out")
    starts = np.cumsum([0, *(len(plan.lengths) for plan in plans)])

    def where(index: int) -> str:
        part = int(np.searchsorted(starts, index, side="right")) - 1
        return f"{plans[part].array}, clip {index - int(starts[part])}"

    return RawClips(
        name=nfc(name),
        source_format=source_format,
        values=values,
        offsets=offsets,
        labels=texts,
        class_names=class_names,
        groups=_groups(found.pairs, plans),
        splits=_splits(found.pairs, plans),
        notes=(*found.notes, *dict.fromkeys(plan.note for plan in plans if plan.note), *notes),
        warnings=tuple(warnings),
        where=where,
        files=files,
    )


def drop_last_number(values: np.ndarray) -> np.ndarray:
    """Return contiguous rows without their last number, in the memory of the rows."""
    rows, numbers = values.shape
    out = values.reshape(-1)[: rows * (numbers - 1)].reshape(rows, numbers - 1)
    for start in range(0, rows, _BLOCK_ROWS):
        out[start : start + _BLOCK_ROWS] = values[start : start + _BLOCK_ROWS, :-1].copy()
    return out


def _plan(pair: Pair, reading: Reading) -> _Plan:
    array = pair.arrays[X]
    shape = array.shape
    if not array.header.is_numbers and array.header.dtype.hasobject:
        raise _pickled(array, pair)
    if array.header.is_numbers and 0 not in shape and (other := turned(array)) is not None:
        lengths = pair.arrays.get(LENGTHS)
        axes = "clips, coords, frames, points" + (", bodies" if len(shape) == 5 else "")
        note = f"{array.name or array.file.name} {list(shape)} is read as [{axes}]"
        plan = _equal(other, other.shape[1], other.shape[2:], note)
        return (
            plan if lengths is None else replace(_ragged(other, lengths, is_offsets=False, reading=reading), note=note)
        )
    if not array.header.is_numbers or len(shape) not in (2, 3, 4) or 0 in shape:
        raise UserError(f"{array}: is {array.header.dtype} {list(shape)}; expected numbers [clips, frames, ...]")
    ends = pair.arrays.get(OFFSETS) or pair.arrays.get(LENGTHS)
    if ends is not None:
        return _ragged(array, ends, is_offsets=OFFSETS in pair.arrays, reading=reading)
    if len(shape) == 2:
        return _Plan(array=array, frame_shape=shape[1:], stored_frames=shape[0], lengths=np.ones(shape[0], np.int64))
    if len(shape) == 4:
        if shape[3] > MOST_COORDS:
            raise UserError(
                f"{array}: {list(shape)} is not [clips, frames, points, coords] with at most {MOST_COORDS} coords; "
                "bring the axes into this order, or join the last two"
            )
        return _equal(array, shape[1], shape[2:])
    return _three_axes(array, reading)


def _pickled(array: StoredArray, pair: Pair) -> UserError:
    """Return the error for clips that are objects, as `np.save` writes those of unequal lengths."""
    labels = pair.arrays[Y]
    if array.name or labels.name or len(array.shape) != 1:
        return UserError(f"{array}: holds pickled objects, which are not read; store arrays of numbers")
    y = json.dumps(str(labels.file), ensure_ascii=False).replace("{", "{{").replace("}", "}}")
    program = (
        "import numpy as np; x = np.load({file}, allow_pickle=True); "
        f'np.savez({{out}}, X=np.concatenate([np.array(c, "f4") for c in x]), lengths=[len(c) for c in x], y=np.load({y}))'
    )
    return UserError(
        f"{array}: holds pickled objects, which are not read: a pickle can run any code; if you trust it and they are clips, "
        f"convert it:{lines(program, array.file, array.file.with_suffix('.npz'))}"
    )


def _equal(array: StoredArray, frames: int, frame_shape: tuple[int, ...], note: str = "") -> _Plan:
    clips = array.shape[0]
    lengths = np.full(clips, frames, np.int64)
    return _Plan(array=array, frame_shape=frame_shape, stored_frames=clips * frames, lengths=lengths, note=note)


def _three_axes(array: StoredArray, reading: Reading) -> _Plan:
    """Return the plan of [clips, frames, numbers], or of single frames [clips, points, coords]."""
    _, first, second = array.shape
    if second > MOST_COORDS or second == 1:
        if first in (2, 3) and second in KNOWN_POINTS and reading.landmarks != "channels":
            raise UserError(
                f"{array}: {list(array.shape)} may be {first} coordinates of {second} points; bring the axes into the order "
                f"[clips, points, coords], or say --landmarks channels for {first} frames of {second} numbers"
            )
        return _equal(array, first, (second,))
    if reading.landmarks == "channels":
        return _equal(array, first, (second,))
    is_told = reading.landmarks != "auto" or reading.coords != "auto"
    if is_told or first in KNOWN_POINTS:
        note = f"{array.name or array.file.name} [clips, {first}, {second}] is read as clips of one frame of {first} points"
        return _equal(array, 1, (first, second), note)
    raise UserError(
        f"{array}: {list(array.shape)} may be single frames of {first} points, or {first} frames of {second} numbers; "
        "say --landmarks points or --landmarks channels, or store [clips, frames, points, coords]"
    )


def _ragged(array: StoredArray, ends: StoredArray, *, is_offsets: bool, reading: Reading) -> _Plan:
    """Return the plan of clips that are padded to one length, or stand end to end."""
    given = ends.load()
    shape = array.shape
    name = ends.name or ends.file.name
    if given.ndim != 1 or given.dtype.kind not in "iu" or not len(given) or given.min() < 0:
        raise UserError(
            f"{ends}: {name} is {given.dtype} {list(given.shape)}; expected whole numbers [clips], none below 0"
        )
    if not is_offsets and len(shape) >= 3 and len(given) == shape[0] and given.sum() != shape[0]:
        if given.max() > shape[1]:
            raise UserError(f"{array}: a length of {given.max()} frames, but it has {shape[1]} frames a clip")
        return _Plan(
            array=array,
            frame_shape=shape[2:],
            stored_frames=shape[0] * shape[1],
            lengths=given.astype(np.int64),
            padded_to=shape[1],
        )
    offsets = given.astype(np.int64) if is_offsets else np.concatenate([[0], np.cumsum(given, dtype=np.int64)])
    if offsets[0] != 0 or offsets[-1] != shape[0] or (np.diff(offsets) < 0).any():
        raise UserError(f"{array}: the clips end at frame {offsets[-1]} by their {name}, but it has {shape[0]} frames")
    if len(shape) == 4:
        raise UserError(
            f"{array}: {list(shape)} with {name} [{len(given)}]; expected [frames, numbers] or [frames, points, coords]"
        )
    return _Plan(array=array, frame_shape=shape[1:], stored_frames=shape[0], lengths=np.diff(offsets))


def _read(plans: Sequence[_Plan]) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames of all clips end to end and their offsets; padding is taken out in the same memory."""
    values = np.empty((sum(plan.stored_frames for plan in plans), *plans[0].frame_shape), dtype=np.float32)
    read = kept = 0
    for plan in plans:
        plan.array.read_into(values[read : read + plan.stored_frames])
        if plan.padded_to is None and read == kept:
            kept += plan.stored_frames
        else:
            starts = (
                np.cumsum([0, *plan.lengths])
                if plan.padded_to is None
                else np.arange(len(plan.lengths)) * plan.padded_to
            )
            for start, length in zip(starts.tolist(), plan.lengths.tolist(), strict=False):
                values[kept : kept + length] = values[read + start : read + start + length]
                kept += length
        read += plan.stored_frames
    lengths = np.concatenate([plan.lengths for plan in plans])
    return values[:kept], np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _is_label_column(values: np.ndarray, offsets: np.ndarray, labels: Sequence[np.ndarray | list[str]]) -> bool:
    """Return whether the last number of every frame is the number of its class."""
    if values.ndim != 2 or values.shape[1] < 2 or any(isinstance(part, list) for part in labels):
        return False
    numbers = np.concatenate([np.asarray(part) for part in labels])
    if (
        len(set(numbers.tolist())) < 2
        or (values[offsets[:-1][np.diff(offsets) > 0], -1] != numbers[np.diff(offsets) > 0]).any()
    ):
        return False
    return bool((values[:, -1] == np.repeat(numbers, np.diff(offsets))).all())


def _class_names(
    arrays: Mapping[str, StoredArray], folder: Path, reading: Reading, taken: Sequence[str]
) -> tuple[ClassNames | None, list[str]]:
    for name, array in arrays.items():
        if len(array.shape) == 1 and array.header.dtype.kind in "US":
            return names_of_array(name, array.load().tolist()), []
    return names_beside_arrays(folder, reading.encoding, taken)


def _groups(pairs: Sequence[Pair], plans: Sequence[_Plan]) -> dict[str, list[str]]:
    """Return the signer and other groups of each clip, empty texts where a split does not know them."""
    found: dict[str, list[list[str]]] = {}
    for number, (pair, plan) in enumerate(zip(pairs, plans, strict=True)):
        count = len(plan.lengths)
        arrays = {SIGNER: pair.arrays.get(SIGNERS), "groups": pair.arrays.get(GROUPS), **pair.others}
        for name, array in arrays.items():
            if array is None:
                continue
            known = name in (SIGNER, "groups")
            if array.shape != (count,) or array.header.dtype.kind not in ("USiufb" if known else "USiu"):
                if known:
                    raise UserError(f"{array}: has shape {list(array.shape)}, not [{count}], one for each clip")
                continue
            texts = found.setdefault(name, [[""] * len(other.lengths) for other in plans])
            texts[number] = [plain_label(value) for value in array.load().tolist()]
    return {name: [text for part in parts for text in part] for name, parts in found.items()}


def _splits(pairs: Sequence[Pair], plans: Sequence[_Plan]) -> list[str]:
    splits: list[str] = []
    for pair, plan in zip(pairs, plans, strict=True):
        array = pair.arrays.get(SPLITS)
        if array is None:
            splits += [pair.split if len(pairs) > 1 else ""] * len(plan.lengths)
        elif array.shape != plan.lengths.shape:
            raise UserError(f"{array}: has shape {list(array.shape)}, not [{len(plan.lengths)}], one for each clip")
        else:
            splits += [
                split_name(plain_label(text), f"{array}, clip {row}") for row, text in enumerate(array.load().tolist())
            ]
    return splits

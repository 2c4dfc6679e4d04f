"""Reads a NumPy archive, `.npz`: `X` and `y`, perhaps `lengths` or `offsets`, `signer` and `split`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ....common.errors import UserError
from ...specs import Reading
from ...text import (
    LABEL_COLUMNS,
    LANDMARK_COLUMNS,
    SIGNER_COLUMNS,
    SPLIT_COLUMNS,
    files_with,
    find_column,
    only_file,
    plain_label,
    split_name,
)
from ..numpy_files import load_arrays
from ..raw import RawClips, raw_clips

NAME = "npz"
LOOKS_FOR = "an .npz file with X and y"

_CLIPS, _LABELS = ("x", *LANDMARK_COLUMNS), ("y", *LABEL_COLUMNS)
_HAND_SHAPES = ((21, 2), (21, 3), (42, 2), (42, 3))


def detect(path: Path) -> bool:
    """Return whether `path` is an `.npz` file or a folder with one."""
    return bool(files_with(path, ".npz")) if path.is_dir() else path.suffix.lower() == ".npz"


def read(path: Path, reading: Reading) -> RawClips:
    """Return the data of a file, or of the only one in a folder.

    X is [clips, frames, numbers] or [clips, frames, landmarks, coords], of which only the first `lengths` frames count if
    these are given; or [total_frames, ...] with `lengths` or `offsets`; or, with one frame per clip, [clips, numbers] or
    [clips, 21 or 42, 2 or 3].
    """
    file = only_file(files_with(path, ".npz"), path, ".npz file") if path.is_dir() else path
    arrays = load_arrays(file)

    def optional(names: tuple[str, ...], count: int) -> list[str]:
        key = find_column(list(arrays), names)
        if key is None:
            return [""] * count
        values = arrays[list(arrays)[key]]
        if values.shape != (count,):
            raise UserError(f"{file}: {names[0]} has shape {list(values.shape)}, not [{count}], one for each clip")
        return [plain_label(value) for value in values.tolist()]

    key_x, key_y = find_column(list(arrays), _CLIPS), find_column(list(arrays), _LABELS)
    if key_x is None or key_y is None:
        raise UserError(f"{file}: needs the arrays X and y; it has {', '.join(arrays) or 'none'}")
    values = arrays[list(arrays)[key_x]]
    if values.dtype.kind not in "fiub" or values.ndim not in (2, 3, 4) or 0 in values.shape:
        raise UserError(f"{file}: X is {values.dtype} {list(values.shape)}; expected numbers [clips, frames, ...]")
    clips = _split_clips(values, arrays.get("offsets"), arrays.get("lengths"), file)

    def where(index: int) -> str:
        return f"{file}, clip {index}"

    return raw_clips(
        name=file.stem,
        source_format=NAME,
        clips=clips,
        labels=optional(_LABELS, len(clips)),
        groups={"signer": optional(SIGNER_COLUMNS, len(clips))},
        splits=[split_name(text, where(index)) for index, text in enumerate(optional(SPLIT_COLUMNS, len(clips)))],
        where=where,
    )


def _split_clips(
    values: np.ndarray, offsets: np.ndarray | None, lengths: np.ndarray | None, file: Path
) -> list[np.ndarray]:
    """Return the clips, each [frames, ...]."""
    if offsets is None and lengths is None:
        is_single_frames = values.ndim == 2 or (values.ndim == 3 and values.shape[1:] in _HAND_SHAPES)
        return list(values[:, None] if is_single_frames else values)
    for name, array in (("offsets", offsets), ("lengths", lengths)):
        if array is not None and (array.ndim != 1 or array.dtype.kind not in "iu"):
            raise UserError(f"{file}: {name} is {array.dtype} {list(array.shape)}; expected whole numbers [clips]")
    if lengths is not None and offsets is None:
        padded = values.ndim >= 3 and len(lengths) == len(values) and lengths.sum() != len(values)
        if padded:
            if lengths.max() > values.shape[1]:
                raise UserError(
                    f"{file}: a length of {lengths.max()} frames, but X has {values.shape[1]} frames a clip"
                )
            return [clip[:length] for clip, length in zip(values, lengths, strict=True)]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
    assert offsets is not None
    if offsets[0] != 0 or offsets[-1] != len(values) or (np.diff(offsets) < 0).any():
        raise UserError(
            f"{file}: the clips end at frame {offsets[-1]} by their offsets or lengths, but X has {len(values)} frames"
        )
    return np.split(values, offsets[1:-1])

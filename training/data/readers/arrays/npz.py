"""Reads a NumPy archive, `.npz`: `X` and `y`, also those of splits, perhaps `lengths` or `offsets`, `signer` and `split`.

`numpy.savez("data.npz", X=..., y=...)` and `X_train=..., y_train=...` are what repositories that train with Keras write.
"""

from __future__ import annotations

from pathlib import Path

from ...specs import Reading
from ...text import files_with, only_file, split_of_file
from ..numpy_files import StoredArray, stored_arrays
from ..raw import RawClips
from .clip_arrays import read_pairs
from .pairs import find_pairs

NAME = "npz"
LOOKS_FOR = "an .npz file with X and y"
USES: tuple[str, ...] = ()

_UNNAMED = {"arr_0": "X", "arr_1": "y"}
"""The names that numpy.savez gives to two arrays without one."""


def detect(path: Path) -> bool:
    """Return whether `path` is an `.npz` file or a folder with one."""
    return bool(files_with(path, ".npz")) if path.is_dir() else path.suffix.lower() == ".npz"


def read(path: Path, reading: Reading) -> RawClips:
    """Return the data of a file, of the only one in a folder, or of those named train, validation, test.

    X is [clips, frames, numbers] or [clips, frames, points, coords], of which only the first `lengths` frames count if
    these are given; or [total_frames, ...] with `lengths` or `offsets`; or, with one frame per clip, [clips, numbers] or
    [clips, points, coords].
    """
    files = [path]
    if path.is_dir():
        files = files_with(path, ".npz")
        splits = {split_of_file(file) for file in files}
        if len(files) < 2 or len(splits) < len(files) or "" in splits:
            files = [only_file(files, path, ".npz file")]
    arrays: list[tuple[str, str, StoredArray]] = []
    for file in files:
        stored = stored_arrays(file)
        is_unnamed = {array.name for array in stored} == set(_UNNAMED)
        split = split_of_file(file) if len(files) > 1 else ""
        arrays += [(_UNNAMED[array.name] if is_unnamed else array.name, split, array) for array in stored]
    return read_pairs(
        find_pairs(files[0] if len(files) == 1 else path, arrays),
        reading,
        name=files[0].stem if len(files) == 1 else path.resolve().name,
        source_format=NAME,
        folder=files[0].parent,
    )

"""Reads folders `<class>/<sequence>/<frame>.npy`, one array per frame: the most common form of MediaPipe recordings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ....common.errors import UserError
from ...specs import Reading
from ...text import natural_key, split_of_file
from ..numpy_files import load_arrays
from ..raw import RawClips, raw_clips

NAME = "frame_folders"
LOOKS_FOR = "<class>/<sequence>/<frame>.npy"

_MOST_COORDS = 4
"""x, y, z and visibility."""


def detect(path: Path) -> bool:
    """Return whether `path`, or a folder in it, has frames two folders down."""
    return path.is_dir() and bool(_roots(path))


def read(path: Path, reading: Reading) -> RawClips:
    """Return the data of a folder of classes, of the only one in `path`, or of those named train, validation, test.

    Frames, sequences and classes are ordered by the numbers in their names. Each frame is a vector or
    [landmarks, coords].
    """
    roots = _roots(path)
    if not roots:
        raise UserError(f"{path}: no frames {LOOKS_FOR} in it")
    splits_of_roots = [split_of_file(root) if root != path else "" for root in roots]
    if len(roots) > 1 and (not all(splits_of_roots) or len(set(splits_of_roots)) < len(roots)):
        raise UserError(
            f"{path}: several data sets ({', '.join(root.name for root in roots)}); name one, as {roots[0]}"
        )
    sequences, labels, splits = [], [], []
    for root, split in zip(roots, splits_of_roots, strict=True):
        for class_folder in _folders(root):
            of_class = _folders(class_folder)
            if not of_class:
                raise UserError(f"{class_folder}: an empty class folder; add sequences or remove it")
            sequences += of_class
            labels += [class_folder.name] * len(of_class)
            splits += [split if len(roots) > 1 else ""] * len(of_class)
    clips = _read_sequences(sequences)
    return raw_clips(
        name=roots[0].resolve().name if len(roots) == 1 else path.resolve().name,
        source_format=NAME,
        clips=clips,
        labels=labels,
        splits=splits,
        where=lambda index: str(sequences[index]),
    )


def _roots(path: Path) -> list[Path]:
    """Return the folders of classes: `path` itself, or else those in it."""
    if not path.is_dir():
        return []
    return [path] if _has_frames(path) else [folder for folder in _folders(path) if _has_frames(folder)]


def _has_frames(root: Path) -> bool:
    return next(_frames(root), None) is not None


def _frames(root: Path) -> Iterator[Path]:
    return root.glob("*/*/*.npy")


def _folders(folder: Path) -> list[Path]:
    found = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return sorted(found, key=lambda entry: natural_key(entry.name))


def _read_sequences(folders: list[Path]) -> list[np.ndarray]:
    """Return the clips [frames, ...]; every frame must have the size of the first."""
    clips = []
    first: tuple[Path, tuple[int, ...]] | None = None
    for folder in folders:
        files = sorted(folder.glob("*.npy"), key=lambda file: natural_key(file.stem))
        if not files:
            raise UserError(f"{folder}: a sequence without frames (.npy); record it again or remove the folder")
        frames = []
        for file in files:
            frame = _read_frame(file)
            first = first or (file, frame.shape)
            if frame.shape != first[1]:
                raise UserError(f"{file}: {_size(frame.shape)}, where {first[0]} has {_size(first[1])}")
            frames.append(frame)
        clips.append(np.stack(frames))
    return clips


def _read_frame(file: Path) -> np.ndarray:
    arrays = load_arrays(file)
    if "" not in arrays:
        raise UserError(f"{file}: is an .npz archive; a frame is one array, as numpy.save writes it")
    frame = arrays[""]
    if frame.dtype.kind not in "fiub":
        raise UserError(f"{file}: holds {frame.dtype}, not numbers")
    if frame.ndim not in (1, 2) or frame.size == 0 or (frame.ndim == 2 and frame.shape[1] > _MOST_COORDS):
        raise UserError(f"{file}: shape {list(frame.shape)}; a frame is a vector or [landmarks, coords]")
    return frame


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) + " numbers"

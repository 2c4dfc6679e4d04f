"""Reads arrays of clips and of labels in `.npy` files: `X_train.npy`, `y_train.npy` and their kin, by their names.

More than 370 public repositories hold an X_train.npy, Ansariricky/Sign_Language_Detection_system among them. Labels are
numbers, one-hot columns of Keras' `to_categorical`, or texts; `label_map.json`, `classes.txt` or `actions.npy` name them.
"""

from __future__ import annotations

from pathlib import Path

from ....common.errors import UserError
from ...specs import Reading
from ...text import files_with, folders_in, split_of_file
from ..numpy_files import stored_arrays
from ..raw import RawClips
from .clip_arrays import read_pairs
from .pairs import Role, X, Y, find_pairs, role_of

NAME = "x_y_arrays"
LOOKS_FOR = "X_train.npy and y_train.npy"
USES: tuple[str, ...] = ()


def detect(path: Path) -> bool:
    """Return whether `path` is an `.npy` of clips or labels by its name, or a folder with one, or with one for each split."""
    if path.is_dir():
        return _has_clips(path) or bool(split_folders(path))
    role = role_of(path.stem) if path.suffix.lower() == ".npy" else None
    return role is not None and role.kind in (X, Y) and (role.is_strong or _has_clips(path.parent))


def split_folders(path: Path) -> list[Path]:
    """Return the folders of splits in a folder that each hold clips and labels: `train/X.npy`, `train/y.npy`."""
    folders = [folder for folder in folders_in(path) if split_of_file(folder)]
    return [folder for folder in folders if has_pair(folder)] if folders and all(map(has_pair, folders)) else []


def read(path: Path, reading: Reading) -> RawClips:
    """Return the data of a folder, of the folders of splits in it, or of one file of clips with its labels beside it.

    The arrays are as those of `npz`.
    """
    folder = path if path.is_dir() else path.parent
    within = [folder] if _has_clips(folder) or not path.is_dir() else split_folders(folder)
    files = [(file, split_of_file(place) if place != folder else "") for place in within for file in _arrays(place)]
    if not path.is_dir():
        own = role_of(path.stem)
        if own is None:
            raise UserError(f"{path}: its name does not say whether it holds clips (X.npy) or labels (y.npy)")
        files = [(file, split) for file, split in files if _belongs(role_of(file.stem), own)]
    if not files:
        raise UserError(
            f"{path}: no {LOOKS_FOR} in it, nor empty or other names of them such as data.npy and labels.npy"
        )
    arrays = [(file.stem, split, array) for file, split in files for array in stored_arrays(file) if not array.name]
    return read_pairs(
        find_pairs(path, arrays),
        reading,
        name=folder.resolve().name if path.is_dir() else path.stem,
        source_format=NAME,
        folder=folder,
    )


def _arrays(folder: Path) -> list[Path]:
    """Return the files of a folder whose names say what they hold."""
    return [file for file in files_with(folder, ".npy") if role_of(file.stem)]


def _has_clips(folder: Path) -> bool:
    """Return whether a folder holds an X or a y, or clips and labels under other names."""
    roles = [role for file in _arrays(folder) if (role := role_of(file.stem))]
    if any(role.kind == X and role.is_strong for role in roles):
        return True
    pairs = [{(role.split, role.rest) for role in roles if role.kind == kind} for kind in (X, Y)]
    return bool(pairs[0] & pairs[1])


def has_pair(folder: Path) -> bool:
    """Return whether a folder holds clips and labels by their names."""
    kinds = {role.kind for file in _arrays(folder) if (role := role_of(file.stem))}
    return {X, Y} <= kinds


def _belongs(role: Role | None, own: Role) -> bool:
    return role is not None and (role.split, role.rest) in ((own.split, own.rest), (own.split, ""))

"""The folder of a run and the weights in it, which are replaced at once or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..common.errors import UserError
from ..common.program.doors import remedy_of_writing
from .files import flush_folder, replaced, write_json, write_tensors
from .run_lock import lock_run

RUN_SCHEMA_VERSION = 2
"""Of `run.json`."""

_LONGEST_NAME = 100
"""Characters of a generated name, well below the limit of file systems."""


def create_run_folder(runs_dir: Path, name: str, *, overwrite: bool) -> Path:
    """Create and return the folder of a new run: `name`, or `name-2`, `name-3`, ... if there is one already.

    With `overwrite` an existing run of that name is moved aside, and removed once the new folder exists. Raises `UserError`
    if the folder cannot be written, or the name cannot be a folder's.
    """
    if not re.fullmatch(r"[\w][\w.+=-]*", name):
        raise UserError(f"--experiment-name: {name!r} is not a folder's name; use letters, digits, '.', '_' and '-'")
    if len(name.encode()) > 255:
        raise UserError(f"--experiment-name: '{name[:40]}...' is longer than the 255 bytes of a folder's name")
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        if overwrite and (runs_dir / name).exists():
            return _replace(runs_dir / name)
        number = 1
        while True:
            folder = runs_dir / (name if number == 1 else f"{name}-{number}")
            try:
                # Whoever makes the folder has the name: two runs that start at once get two folders.
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise UserError(f"--runs-dir {runs_dir}: there is something else of this name; give a folder") from error
        raise UserError(
            f"--runs-dir {runs_dir}: {error.strerror or error}; choose a folder that can be written"
        ) from error


def folder_name(text: str) -> str:
    """Return a folder's name made from a text, such as `user-my-data-1-` from `user/my data (1)`."""
    return re.sub(r"-*[^\w.+=-]+-*", "-", text).lstrip("-.+=")[:_LONGEST_NAME] or "run"


def _replace(folder: Path) -> Path:
    if not (folder / "run.json").is_file() and any(folder.iterdir()):
        raise UserError(f"--overwrite: {folder} is not a run (it has no run.json); choose another --experiment-name")
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    with lock_run(folder, 0.0):
        folder.rename(aside)
    try:
        folder.mkdir()
    except OSError:
        aside.rename(folder)
        raise
    shutil.rmtree(aside)
    return folder


def save_weights(folder: Path, state: Mapping[str, torch.Tensor], spec: Mapping[str, Any]) -> None:
    """Write `model.safetensors` and `spec.json`, which describes the model, into `folder`.

    Raises `UserError` if they cannot be written, as on a full disk; older ones then stay.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replaced(folder / "model.safetensors") as partial:
            write_tensors(partial, state)
            write_json(folder / "spec.json", spec)
        flush_folder(folder)
    except OSError as error:
        raise UserError(
            f"{folder}: the weights cannot be written: {error.strerror}; {remedy_of_writing(error)}"
        ) from error

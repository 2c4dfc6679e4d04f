"""The folder of a run: `run.json`, `events.jsonl` and the weights. What is saved is replaced at once or not at all."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ..common.conversion import plain_values
from ..common.errors import UserError
from .files import flush_folder, write_durably, write_tensors
from .run_lock import lock_run

RUN_SCHEMA_VERSION = 1

_LONGEST_NAME = 100
"""Characters of a name that is made up here, well below what file systems allow."""

_PACKAGES = ("slipway", "torch", "accelerate", "datasets", "numpy", "safetensors")


def create_run_folder(runs_dir: Path, name: str, *, overwrite: bool) -> Path:
    """Create and return the folder of a new run: `name`, or `name-2`, `name-3`, ... where there is one already.

    With `overwrite` an existing run of that name is moved aside, and removed once the new folder stands. Raises
    `UserError` where the folder cannot be written, or the name is not one of a folder.
    """
    if not re.fullmatch(r"[\w][\w.+=-]*", name):
        raise UserError(f"--experiment-name: {name!r} is not a folder's name; use letters, digits, '.', '_' and '-'")
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        if overwrite and (runs_dir / name).exists():
            return _replace(runs_dir / name)
        number = 1
        while True:
            folder = runs_dir / (name if number == 1 else f"{name}-{number}")
            try:
                # Making the folder is the claim to the name, so two runs that start at once do not meet.
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1
    except OSError as error:
        raise UserError(
            f"--runs-dir {runs_dir}: {error.strerror or error}; choose a folder that can be written"
        ) from error


def folder_name(text: str) -> str:
    """Return a folder's name for a text such as a data set's name, `user/my data (1)`: `user-my-data-1-`."""
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


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file so that a reader finds the old or the new one, never a part. Raises `OSError`.

    JSON has no NaN and no infinity: such a number is null, and `non_finite` names it.
    """
    non_finite: list[str] = []
    plain = plain_values(content, "", non_finite)
    if non_finite:
        plain["non_finite"] = non_finite
    text = json.dumps(plain, indent=2, allow_nan=False) + "\n"
    with _replaced(path) as partial:
        write_durably(partial, [text.encode()])


def save_weights(folder: Path, state: Mapping[str, torch.Tensor], spec: Mapping[str, Any]) -> None:
    """Write `model.safetensors` and `spec.json`, which says what the weights are of, into `folder`.

    Raises `UserError` where they cannot be written, as on a full disk; older ones then stay.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _replaced(folder / "model.safetensors") as partial:
            write_tensors(partial, state)
            write_json(folder / "spec.json", spec)
        flush_folder(folder)
    except OSError as error:
        raise UserError(f"{folder}: the weights cannot be written: {error.strerror}; make room there") from error


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Yield the path of a new file that then takes the place of the old one; where it cannot be written, nothing stays."""
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            # A checkout that was not installed has no version of its own.
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of the code that trains, with `+changes` where the tree differs from it; none outside git."""
    here = Path(__file__).resolve().parent
    try:
        # Installed into an environment inside another project, the repository around it is not the code's own.
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git(here, "rev-parse", "HEAD")
        return f"{commit}+changes" if _git(here, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()

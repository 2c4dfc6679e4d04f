"""Finding the run to resume, and comparing its recipe and data with what is asked for now."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.checkpoint import CHECKPOINTS, DamagedCheckpoint, Manifest, newest_checkpoint, read_manifest, verify
from training.errors import UserError
from training.recipe import Recipe, Resolution


@dataclass(frozen=True, kw_only=True)
class Found:
    """A run that is to go on."""

    folder: Path
    record: Mapping[str, Any]
    """Its `run.json`."""
    manifest: Manifest | None
    """Its newest good checkpoint; none: it starts from the beginning, in the same folder."""
    problems: tuple[str, ...]
    """What is wrong with newer checkpoints."""

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.record.get("state") == "finished"


def read_record(folder: Path) -> dict[str, Any]:
    """Return a run's `run.json`. Raises `UserError`."""
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record["recipe"], dict):
            raise ValueError
        return record
    except OSError as error:
        raise UserError(f"--resume {folder}: no run there ({path.name}: {error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"--resume {folder}: {path.name} is not the record of a run") from None


def find_run(resume: str, runs_dir: Path, name: str) -> Found | None:
    """Return the run that `--resume` names: a run, a checkpoint, or with `auto` the newest of the experiment `name`.

    None where `auto` finds nothing. Raises `UserError` where a named one is not there or is damaged.
    """
    if resume == "auto":
        folder = newest_run(runs_dir, name)
        return None if folder is None else _found(folder)
    path = named_folder(resume, runs_dir)
    if path.parent.name != CHECKPOINTS:
        return _found(path)
    try:
        manifest = read_manifest(path)
        verify(manifest)
    except DamagedCheckpoint as damage:
        raise UserError(f"--resume {resume}: {damage}; name the run instead, for its newest good checkpoint") from None
    folder = path.parent.parent
    return Found(folder=folder, record=read_record(folder), manifest=manifest, problems=())


def named_folder(resume: str, runs_dir: Path) -> Path:
    """Return the folder of a run or checkpoint by its path or by its name. Raises `UserError`."""
    for path in (Path(resume), runs_dir / resume):
        if path.is_dir():
            return path.resolve()
    raise UserError(f"--resume {resume}: no such run or checkpoint, here or in {runs_dir}")


def newest_run(runs_dir: Path, name: str) -> Path | None:
    """Return the newest of the runs `name`, `name-2`, `name-3`, ...; a folder without a record is none."""
    pattern = re.compile(re.escape(name) + r"(?:-(\d+))?")
    found = [
        (int(match[1] or 1), path)
        for path in (runs_dir.iterdir() if runs_dir.is_dir() else ())
        if (match := pattern.fullmatch(path.name)) and (path / "run.json").is_file()
    ]
    return max(found)[1] if found else None


def _found(folder: Path) -> Found:
    record = read_record(folder)
    if record.get("state") == "finished":
        return Found(folder=folder, record=record, manifest=None, problems=())
    manifest, problems = newest_checkpoint(folder)
    return Found(folder=folder, record=record, manifest=manifest, problems=tuple(problems))


def continued_recipe(
    recipe: Recipe,
    saved: Mapping[str, Any],
    *,
    same_data: bool,
    where: str,
    allow_change: bool,
) -> tuple[Recipe, list[str]]:
    """Return the recipe to go on with, its resolution the saved one, and how it differs from the saved one.

    The base recipes are compared. Where the data lies does not matter as long as its samples are the same. Raises
    `UserError` for a difference that was not allowed.
    """
    resolution = Resolution(**saved["resolution"])
    resolved = dataclasses.replace(recipe, resolution=resolution)
    if not same_data:
        differences = ["the samples of the data"]
    else:
        source = saved["data"]["source"]
        resolved = dataclasses.replace(resolved, data=dataclasses.replace(recipe.data, source=source))
        differences = []
    differences += differences_of(saved, resolved.as_dict())
    if differences and not allow_change:
        raise UserError(
            f"{where}: the recipe is not the run's any more: {', '.join(differences)}; start another run, "
            "or --allow-recipe-change"
        )
    if recipe.batch_size != saved["batch_size"] or recipe.batch_rule != saved["batch_rule"]:
        resolved = resolved.resolve(resolution.num_processes, resolution.mixed_precision)
    return resolved, differences


def differences_of(old: Any, new: Any, name: str = "") -> list[str]:
    """Return where two recipes differ: `optimizer.learning_rate 0.002 -> 0.004`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        prefix = f"{name}." if name else ""
        # A field that one of them does not know is of another version of the program.
        return [one for key in new for one in differences_of(old.get(key, new[key]), new[key], f"{prefix}{key}")]
    if isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            return [f"{len(old)} {name} -> {len(new)}"]
        return [
            one
            for number, (a, b) in enumerate(zip(old, new, strict=True))
            for one in differences_of(a, b, f"{name}[{number}]")
        ]
    return [] if old == new else [f"{name} {old} -> {new}"]

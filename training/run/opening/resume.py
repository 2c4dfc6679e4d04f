"""Finding the run to resume, and comparing its recipe with the one that is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.run_names import newest_run, read_record, resolve_name
from ...config.recipe import Recipe, Resolution
from ...storage.checkpoint import DamagedCheckpoint, Manifest, newest_checkpoint, read_manifest, verify

AUTO = "auto"

_IN_WORDS = {
    "start": "the weights that it starts from (--start-from)",
    "task.name": "the task",
    "task.options.data.train_ratio": "--train-ratio",
    "task.model_fingerprint": "the structure of the model: fingerprint",
    "task.data_fingerprint": "the samples of the data: fingerprint",
}


@dataclass(frozen=True, kw_only=True)
class Found:
    """A run that is to be resumed."""

    folder: Path
    record: Mapping[str, Any]
    """Its `run.json`."""
    manifest: Manifest | None
    """The checkpoint to resume from; None: the run starts again, in the same folder."""
    problems: tuple[str, ...] = ()
    """The damage of newer checkpoints."""
    is_older: bool = False
    """Whether an older checkpoint than the newest good one was asked for."""
    is_named: bool = False
    """Whether this checkpoint was asked for by its name, so that no other may take its place."""

    @property
    def is_finished(self) -> bool:
        """Whether the run has nothing left to train."""
        return is_finished(self.record)


def is_finished(record: Mapping[str, Any]) -> bool:
    """Return whether the run of a record is finished."""
    return record.get("state") == "finished" and "result" in record


def folder_to_resume(resume: str, runs_dir: Path, name: str) -> Path | None:
    """Return the run's folder that `--resume` names: with `auto` the newest of the experiment `name`, None without one.

    Raises `UserError` if a named run does not exist.
    """
    return newest_run(runs_dir, name) if resume == AUTO else resolve_name(resume, runs_dir).run


def find_run(resume: str, runs_dir: Path, name: str) -> Found | None:
    """Return the run that `--resume` names, with its newest good checkpoint or the one that is named.

    None if `auto` finds no run. Raises `UserError` if a named run or checkpoint does not exist or is damaged.
    """
    folder = folder_to_resume(resume, runs_dir, name)
    if folder is None:
        return None
    record = read_record(folder)
    checkpoint = None if resume == AUTO else resolve_name(resume, runs_dir).checkpoint
    if checkpoint is not None:
        return _found_checkpoint(resume, folder, record, checkpoint)
    if is_finished(record):
        return Found(folder=folder, record=record, manifest=None)
    manifest, problems = newest_checkpoint(folder)
    return Found(folder=folder, record=record, manifest=manifest, problems=tuple(problems))


def _found_checkpoint(resume: str, folder: Path, record: dict[str, Any], checkpoint: Path) -> Found:
    try:
        manifest = read_manifest(checkpoint.resolve())
        verify(manifest)
    except DamagedCheckpoint as damage:
        good = newest_checkpoint(folder)[0]
        remedy = f"the newest good one is {good.folder}" if good else "none of the run is good: start another run"
        raise UserError(f"--resume {resume}: {damage}; {remedy}") from None
    newest = newest_checkpoint(folder)[0]
    is_older = newest is not None and newest.sequence > manifest.sequence
    return Found(folder=folder, record=record, manifest=manifest, is_older=is_older, is_named=True)


def continued_recipe(
    recipe: Recipe,
    saved: Mapping[str, Any],
    *,
    mixed_precision: str,
    keeps_monitor: bool,
    where: str,
    allow_change: bool,
) -> tuple[Recipe, list[str]]:
    """Return the recipe to resume with, which keeps the saved resolution, and its differences from the saved recipe.

    The base recipes are compared, and `mixed_precision` where it is not `auto`; with `keeps_monitor` the monitor is the
    saved one. Raises `UserError` for a difference that
    was not allowed.
    """
    try:
        resolution = Resolution(**saved["resolution"])
        batch = [saved[name] for name in ("batch_size", "batch_rule", "learning_rate_rule")]
    except (KeyError, TypeError):
        raise UserError(f"{where}: its recipe was written by another version; start another run") from None
    if keeps_monitor:
        recipe = dataclasses.replace(
            recipe,
            monitor=str(saved.get("monitor", recipe.monitor)),
            monitor_direction=saved.get("monitor_direction", "auto"),
        )
    # Random numbers of a model's own, or a file of weights that moved, must not keep a run from going on with those it saved.
    weights = saved.get("task", {}).get("weights_fingerprint", recipe.task.weights_fingerprint)
    recipe = dataclasses.replace(recipe, task=dataclasses.replace(recipe.task, weights_fingerprint=weights))
    if recipe.start is not None and saved.get("start") is not None:
        recipe = dataclasses.replace(recipe, start=saved["start"])
    resolved = dataclasses.replace(recipe, resolution=resolution)
    differences = differences_of(saved, resolved.as_dict())
    if mixed_precision not in ("auto", resolution.mixed_precision):
        differences.append(f"mixed_precision {resolution.mixed_precision} -> {mixed_precision}")
        resolution = dataclasses.replace(resolution, mixed_precision=mixed_precision)  # type: ignore[arg-type]
        resolved = dataclasses.replace(resolved, resolution=resolution)
    if differences and not allow_change:
        raise UserError(
            f"{where}: the recipe is not the run's any more: {', '.join(differences)}; start another run, "
            "or --allow-recipe-change"
        )
    if batch != [recipe.batch_size, recipe.batch_rule, recipe.learning_rate_rule]:
        resolved = resolved.resolve(resolution.num_processes, resolution.mixed_precision)
    return resolved, differences


def differences_of(old: Any, new: Any, name: str = "") -> list[str]:
    """Return where two recipes differ: `optimizer.learning_rate 0.002 -> 0.004`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        prefix = f"{name}." if name else ""
        # A field that one of them lacks is unknown to its version.
        return [one for key in new for one in differences_of(old.get(key, new[key]), new[key], f"{prefix}{key}")]
    if isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            return [f"{len(old)} {name} -> {len(new)}"]
        return [
            one
            for number, (a, b) in enumerate(zip(old, new, strict=True))
            for one in differences_of(a, b, f"{name}[{number}]")
        ]
    return [] if old == new else [f"{_IN_WORDS.get(name, name)} {old} -> {new}"]

"""Stages by the name of a preset, or from a YAML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..common.conversion import field_types, from_mapping
from ..common.errors import UserError, nearest
from ..common.small_files import UnreadableError, parse_yaml, read_yaml, reason_of
from .recipe import Stage

OF_STAGES = ("epochs", "end_with", "patience", "weight_decay", "schedule", "warmup_epochs")
"""Options that set every stage at once."""


def load_stages(
    name: str, presets: Mapping[str, Callable[[], tuple[Stage, ...]]], stage_options: type | None
) -> tuple[Stage, ...]:
    """Return the stages of a preset, or of a YAML file that lists them, with `stage_options` of the task they are for.

    The list may also be given itself: `[{name: warm, epochs: 3}]`. Of a preset the task takes what its stage options know; a
    file must name nothing else. Raises `UserError` for an unknown preset, a missing or malformed file, an unknown key or a
    value of the wrong kind.
    """
    if name in presets:
        return tuple(
            dataclasses.replace(stage, options=_take_known(stage.options, stage_options)) for stage in presets[name]()
        )
    path = Path(name)
    try:
        content = parse_yaml(name) if is_inline(name) else read_yaml(path)
    except FileNotFoundError:
        raise UserError(
            f"--stages-config: {name!r} is neither a preset ({', '.join(presets)}) nor a file{nearest(name, presets)}"
        ) from None
    except (OSError, UnreadableError) as error:
        raise UserError(f"--stages-config {path}: {reason_of(error)}") from None
    path = Path("--stages-config") if is_inline(name) else path
    entries = content.get("stages") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: expected a list of stages, each with a name and a number of epochs")
    stages = tuple(
        read_stage(entry, stage_options, f"{path}: stage {number}") for number, entry in enumerate(entries, 1)
    )
    names = [stage.name for stage in stages]
    if len(set(names)) != len(names):
        raise UserError(f"{path}: two stages have the same name; give each its own")
    return stages


def is_inline(name: str) -> bool:
    """Return whether `--stages-config` is the list of stages itself."""
    return name.lstrip().startswith("[")


def short_name(name: str) -> str:
    """Return what the name of a run says of its stages."""
    return "stages" if is_inline(name) else Path(name).stem


def says_weight_decay(name: str) -> bool:
    """Return whether the weight decay of the stages is the user's: a file has it, or a list names it."""
    return "weight_decay" in name if is_inline(name) else Path(name).is_file()


def read_stage(entry: Any, stage_options: type | None, where: str) -> Stage:
    """Return the stage of a mapping, in which the task's own keys stand beside the general ones. Raises `UserError`."""
    if not isinstance(entry, Mapping):
        raise UserError(f"{where}: expected keys and values, got {str(entry)[:40]!r}")
    of_task = field_types(stage_options) if stage_options is not None else {}
    known = [*(name for name in field_types(Stage) if name != "options"), *of_task]
    for key in entry:
        if key not in known:
            of_its_task = f"; the settings of this task in a stage are {', '.join(of_task) or 'none'}"
            raise UserError(f"{where}: unknown key {key!r}{nearest(str(key), known) or of_its_task}")
    options: Any = None
    try:
        if stage_options is not None:
            options = from_mapping(stage_options, {key: entry[key] for key in entry if key in of_task}, where)
        stage = from_mapping(Stage, {key: value for key, value in entry.items() if key not in of_task}, where)
    except UserError as error:
        # A value that the classes themselves refuse has no place yet.
        raise UserError(str(error) if str(error).startswith(where) else f"{where}: {error}") from None
    return dataclasses.replace(stage, options=options)


def _take_known(options: Any, stage_options: type | None) -> Any:
    if stage_options is None:
        return None
    known = {name: getattr(options, name) for name in field_types(stage_options) if hasattr(options, name)}
    return stage_options(**known)


def change_stages(stages: tuple[Stage, ...], options: Mapping[str, Any], quick_test: bool = False) -> tuple[Stage, ...]:
    """Return the stages with the options of `OF_STAGES` that are given; a number of epochs is then all that each has."""
    chosen = {name: value for name, value in options.items() if value is not None}
    if "epochs" in chosen:
        chosen["min_steps"] = None
    stages = tuple(dataclasses.replace(stage, **chosen) for stage in stages)
    return shorten(stages) if quick_test else stages


def shorten(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Return the stages of a quick test: the first two, at most 3 epochs each, patience at most 3."""
    return tuple(
        dataclasses.replace(
            stage,
            epochs=min(stage.epochs, 3),
            min_steps=None,
            patience=min(stage.patience or 3, 3),
            improvement_threshold=-1.0,
        )
        for stage in stages[:2]
    )

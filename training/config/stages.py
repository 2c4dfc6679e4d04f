"""The stage presets, and stages from a YAML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import yaml

from ..common.conversion import from_mapping
from ..common.errors import UserError, nearest
from .recipe import Augmentation, Stage

AUGMENTATION = Augmentation(
    rotation_degrees=15.0,
    scale=0.2,
    shear=0.1,
    shift=0.1,
    noise=0.01,
    resample=0.25,
    crop=0.08,
    frame_dropout=0.05,
    landmark_dropout=0.03,
)
"""The augmentation of strength 1. It does not flip: in one-handed data a flip changes who signs, and in two-handed data
it can change the sign; a stages file asks for it with `flip_probability`."""


def _default() -> tuple[Stage, ...]:
    return (
        Stage(name="baseline", epochs=8, dropout=0.1, patience=4),
        Stage(name="augmentation", epochs=10, dropout=0.1, augmentation=AUGMENTATION, patience=5),
        Stage(
            name="regularization",
            epochs=12,
            dropout=0.3,
            label_smoothing=0.1,
            augmentation=AUGMENTATION,
            weight_decay=0.1,
            patience=6,
        ),
        Stage(
            name="fine-tuning",
            epochs=6,
            learning_rate_factor=0.3,
            dropout=0.2,
            label_smoothing=0.05,
            augmentation=AUGMENTATION.strengthened(0.5),
            patience=4,
        ),
        Stage(
            name="polishing",
            epochs=4,
            learning_rate_factor=0.05,
            schedule="linear",
            dropout=0.1,
            augmentation=AUGMENTATION.strengthened(0.25),
            patience=3,
        ),
    )


def _conservative() -> tuple[Stage, ...]:
    common = {"dropout": 0.2, "label_smoothing": 0.05, "warmup_epochs": 3.0}
    return (
        Stage(
            name="steady",
            epochs=40,
            learning_rate_factor=0.5,
            augmentation=AUGMENTATION.strengthened(0.5),
            patience=12,
            **common,  # type: ignore[arg-type]
        ),
        Stage(
            name="settling",
            epochs=20,
            learning_rate_factor=0.1,
            augmentation=AUGMENTATION.strengthened(0.5),
            patience=8,
            **common,  # type: ignore[arg-type]
        ),
    )


def _aggressive() -> tuple[Stage, ...]:
    return (
        Stage(name="large-rate", epochs=15, learning_rate_factor=2.0, warmup_epochs=2.0, dropout=0.1, patience=6),
        Stage(
            name="strong-augmentation",
            epochs=20,
            dropout=0.2,
            augmentation=AUGMENTATION.strengthened(1.5),
            patience=8,
        ),
        Stage(
            name="strong-regularization",
            epochs=20,
            learning_rate_factor=0.5,
            dropout=0.5,
            label_smoothing=0.15,
            weight_decay=0.2,
            augmentation=AUGMENTATION.strengthened(1.5),
            patience=8,
        ),
    )


def _minimal() -> tuple[Stage, ...]:
    return (Stage(name="training", epochs=60, dropout=0.3, label_smoothing=0.1, augmentation=AUGMENTATION),)


PRESETS: dict[str, Callable[[], tuple[Stage, ...]]] = {
    "default": _default,
    "conservative": _conservative,
    "aggressive": _aggressive,
    "minimal": _minimal,
}


def load_stages(name: str) -> tuple[Stage, ...]:
    """Return the stages of a preset, or of a YAML file that lists them.

    Raises `UserError` for an unknown preset, a missing or malformed file, an unknown key or a value of the wrong kind.
    """
    if name in PRESETS:
        return PRESETS[name]()
    path = Path(name)
    if not path.is_file():
        raise UserError(
            f"--stages-config: {name!r} is neither a preset ({', '.join(PRESETS)}) nor a file{nearest(name, PRESETS)}"
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable YAML file: {' '.join(str(error).split())}") from error
    entries = content.get("stages") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: expected a list of stages, each with a name and a number of epochs")
    stages = tuple(from_mapping(Stage, entry, f"{path}: stage {number}") for number, entry in enumerate(entries, 1))
    names = [stage.name for stage in stages]
    if len(set(names)) != len(names):
        raise UserError(f"{path}: two stages have the same name; give each its own")
    return stages


def shorten(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Return the stages of a quick test: the first two, at most 3 epochs each, patience at most 3."""
    return tuple(
        dataclasses.replace(
            stage, epochs=min(stage.epochs, 3), patience=min(stage.patience or 3, 3), improvement_threshold=-1.0
        )
        for stage in stages[:2]
    )

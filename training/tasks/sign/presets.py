"""The stages that have a name. No torch.

They hold all settings of a sign stage; another task takes those that its own stages have, such as label smoothing.
"""

from __future__ import annotations

from ...config.recipe import Stage
from .options import AUGMENTATION, SignStage


def _default() -> tuple[Stage, ...]:
    options = SignStage(dropout=0.3, label_smoothing=0.1, augmentation=AUGMENTATION)
    return (Stage(name="training", epochs=40, min_steps=800, end_with="last", options=options),)


def _curriculum() -> tuple[Stage, ...]:
    return (
        Stage(name="baseline", epochs=8, patience=4, options=SignStage(dropout=0.1)),
        Stage(name="augmentation", epochs=10, patience=5, options=SignStage(dropout=0.1, augmentation=AUGMENTATION)),
        *_regularization(),
        *_fine_tune(),
        *_polish(),
    )


def _fine_tune() -> tuple[Stage, ...]:
    options = SignStage(dropout=0.2, label_smoothing=0.05, augmentation=AUGMENTATION.strengthened(0.5))
    return (Stage(name="fine-tuning", epochs=6, learning_rate_factor=0.3, patience=4, options=options),)


def _regularization() -> tuple[Stage, ...]:
    options = SignStage(dropout=0.3, label_smoothing=0.1, augmentation=AUGMENTATION)
    return (Stage(name="regularization", epochs=12, weight_decay=0.1, patience=6, options=options),)


def _exploration() -> tuple[Stage, ...]:
    options = SignStage(dropout=0.2, augmentation=AUGMENTATION.strengthened(1.5))
    return (
        Stage(name="exploration", epochs=15, learning_rate_factor=2.0, warmup_epochs=2.0, patience=6, options=options),
    )


def _polish() -> tuple[Stage, ...]:
    options = SignStage(dropout=0.1, augmentation=AUGMENTATION.strengthened(0.25))
    return (
        Stage(name="polishing", epochs=4, learning_rate_factor=0.05, schedule="linear", patience=3, options=options),
    )


def _conservative() -> tuple[Stage, ...]:
    options = SignStage(dropout=0.2, label_smoothing=0.05, augmentation=AUGMENTATION.strengthened(0.5))
    return (
        Stage(name="steady", epochs=40, learning_rate_factor=0.5, warmup_epochs=3.0, patience=12, options=options),
        Stage(name="settling", epochs=20, learning_rate_factor=0.1, warmup_epochs=3.0, patience=8, options=options),
    )


def _aggressive() -> tuple[Stage, ...]:
    strong = AUGMENTATION.strengthened(1.5)
    return (
        Stage(
            name="large-rate",
            epochs=15,
            learning_rate_factor=2.0,
            warmup_epochs=2.0,
            patience=6,
            options=SignStage(dropout=0.1),
        ),
        Stage(
            name="strong-augmentation",
            epochs=20,
            patience=8,
            options=SignStage(dropout=0.2, augmentation=strong),
        ),
        Stage(
            name="strong-regularization",
            epochs=20,
            learning_rate_factor=0.5,
            weight_decay=0.2,
            patience=8,
            options=SignStage(dropout=0.5, label_smoothing=0.15, augmentation=strong),
        ),
    )


def _minimal() -> tuple[Stage, ...]:
    options = SignStage(dropout=0.3, label_smoothing=0.1, augmentation=AUGMENTATION)
    return (Stage(name="training", epochs=60, options=options),)


def _plain() -> tuple[Stage, ...]:
    return (Stage(name="training", epochs=20),)


PRESETS = {
    "default": _default,
    "curriculum": _curriculum,
    "conservative": _conservative,
    "aggressive": _aggressive,
    "minimal": _minimal,
    "fine_tune": _fine_tune,
    "regularization": _regularization,
    "exploration": _exploration,
    "polish": _polish,
}
"""The last four are single stages, of which each suits one purpose of going on from other weights."""

OWN_PRESETS = {**PRESETS, "default": _plain}
"""For any other task: what is trained where nothing is said is one plain stage."""

"""Make the results of a stage and of a run, as in `run.json` and on the console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config.recipe import Recipe, Stage
from .progress import Progress

_STAGE_METRICS = ("accuracy", "macro_f1", "loss")
_NOT_OF_STAGES = (*_STAGE_METRICS, "top5_accuracy", "confusion_matrix")


def stage_row(stage: Stage, progress: Progress, stopped: str, seconds: float) -> dict[str, Any]:
    """Return the row of the present stage; `stopped` says why it ended. Its best epoch counts from 1."""
    best = progress.stage_best
    return {
        "stage": stage.name,
        "epochs": progress.epoch_in_stage + 1,
        "steps": progress.step - progress.stage_first_step,
        "stopped": stopped,
        "best_epoch": None if best.epoch is None else best.epoch + 1,
        **{f"validation_{key}": best.validation.get(key) for key in _STAGE_METRICS},
        **{f"validation_{key}": value for key, value in best.validation.items() if key not in _NOT_OF_STAGES},
        "seconds": round(seconds, 3),
    }


def run_result(recipe: Recipe, progress: Progress, test: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Return the result of a run: the test of its best weights, their validation, and the rows of its stages."""
    best = progress.best
    return {
        **{f"test_{key}": value for key, value in test.items()},
        **{f"validation_{key}": value for key, value in best.validation.items() if key != "confusion_matrix"},
        "best_stage": None if best.epoch is None else recipe.stages[best.epoch].name,
        "stages": progress.rows,
        "steps": progress.step,
        "seconds": round(seconds, 3),
    }

"""`slipway.load`: the model of a run, with its labels and what it predicts of new data."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from torch import nn

from ...training.run import load as weights
from .inputs.samples import Prediction, Predictor, check_finite, predictions_of
from .trained import Trained


class TrainedModel(nn.Module):
    """What `load` returns, as type checkers see it: the run's own module with two more attributes."""

    labels: tuple[str, ...]
    """The names of the classes, in the order of the scores; empty where it tells none."""
    predict: Callable[[Any], list[Prediction]]
    """Of a model of Slipway's own tasks that tells classes: see `load`."""


def load(
    run: str | os.PathLike[str],
    which: Literal["best", "last"] = "best",
    *,
    make_model: Callable[[], nn.Module] | None = None,
    runs_dir: str | os.PathLike[str] = "runs",
    trust: bool = False,
) -> TrainedModel:
    """Return the model of a run with its best or its last weights: the plain module, on the CPU, in `eval()`.

    It has two more attributes, unless its class has them: `labels`, the names of its classes, and `predict`, for sign
    recognition, pictures and texts. `predict(data)` takes what `slipway predict` takes, by its path, or a list of clips (arrays
    [frames, landmarks, coords], missing points as NaN; one array is one clip), of files of pictures, or of texts. It returns a
    list with a `Prediction` for each: its `label`, `probability`, the `probabilities` by name, and `top(3)`.

    `run` is the run's folder, its name in `runs_dir`, or the folder of the weights itself, `runs/x/best`. A run that still
    trains, or was killed, has the best weights of its complete epochs.

    The model is made as the run made it, by what `spec.json` beside the weights says: an importable function or class, with
    plain arguments if it is a `functools.partial`, or the task that `--task` named. Where the run could not say, as of a
    lambda, give `make_model`. The weights must be those of exactly this model.

    Code that `spec.json` names is run only if this user's own run wrote it on this machine, or with `trust=True`: read it
    first. The models of Slipway's own tasks, and `make_model`, need no trust. Raises `UserError`.
    """
    model = weights.load(run, which, make_model=make_model, runs_dir=runs_dir, trust=trust)
    trained = Trained.find(str(run), which, Path(runs_dir), trust=trust)
    labels = trained.class_names or ()
    added: dict[str, Any] = {"labels": labels}
    if labels and trained.kind != "own" and make_model is None:
        added["predict"] = _Predict(trained.predictor(model=model))
    for name, value in added.items():
        if not hasattr(model, name):
            object.__setattr__(model, name, value)
    return cast(TrainedModel, model)


class _Predict:
    """Predicts by a predictor, of a path or of values."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def __call__(self, data: str | os.PathLike[str] | np.ndarray | Sequence[Any]) -> list[Prediction]:
        """Return the prediction of each sample."""
        if isinstance(data, (str, os.PathLike)):
            samples = self._predictor.read(os.fspath(data))
        else:
            samples = self._predictor.take([data] if isinstance(data, np.ndarray) and data.ndim == 3 else list(data))
        found = check_finite(self._predictor.probabilities(samples.items), samples.names)
        return predictions_of(self._predictor.class_names, found)

"""Metrics by name: functions of the outputs and targets of a complete split, and which way each is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from ...common.errors import UserError
from ..answers import Answers
from ..classification import macro_f1
from .structure import sizes_of

Direction = Literal["max", "min"]
Metric = Callable[[torch.Tensor, torch.Tensor], Any]
MetricSpec = Metric | tuple[Direction, Metric] | tuple[Metric, Direction]

_HIGHER = {
    "accuracy", "acc", "balanced_accuracy", "top5_accuracy", "f1", "macro_f1", "micro_f1", "precision", "recall", "auc",
    "auroc", "roc_auc", "ap", "map", "average_precision", "r2", "r2_score", "iou", "miou", "dice", "bleu", "rouge", "psnr",
    "ssim", "kappa", "mcc", "pearson", "spearman", "correlation", "explained_variance",
}  # fmt: skip
_LOWER = {
    "loss", "error", "error_rate", "mae", "mse", "rmse", "msle", "rmsle", "mape", "smape", "perplexity", "nll", "brier",
    "ece", "wer", "cer", "fid", "crps", "log_loss", "hinge", "max_error",
}  # fmt: skip


def known_direction(name: str) -> Direction | None:
    """Return which way a metric of this name is better; None where the name does not say."""
    return "max" if name in _HIGHER else "min" if name in _LOWER else None


class Metrics:
    """The metrics of a task, computed from what it keeps of each sample."""

    def __init__(self, given: Mapping[str, MetricSpec]) -> None:
        if isinstance(given, torch.nn.ModuleDict):  # a MetricCollection of torchmetrics is one
            given = dict(given.items())
        if not isinstance(given, Mapping):
            raise UserError(
                f"metrics: expected names and functions, {{'r2': function}}, got {getattr(given, '__name__', sizes_of(given))}"
            )
        self._functions: dict[str, Metric] = {}
        self.directions: dict[str, Direction] = {}
        for name, spec in given.items():
            if not isinstance(name, str) or not name.isidentifier() or name == "loss":
                raise UserError(f"metrics: {name!r} is no name for a metric; give one such as r2, and not loss")
            function, direction = _split(name, spec)
            self._functions[name] = function
            direction = direction or known_direction(name)
            if direction is not None:
                self.directions[name] = direction

    @property
    def names(self) -> tuple[str, ...]:
        """The names, as they were given."""
        return tuple(self._functions)

    def compute(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        """Return each metric. Raises `UserError` for one that returns no number; what a function raises gets its name."""
        found = {}
        for name, function in self._functions.items():
            try:
                value = _call(function, outputs, targets)
            except Exception as error:
                error.add_note(
                    f"in the metric {name!r}, of outputs {sizes_of(outputs)} and targets {sizes_of(targets)}"
                )
                raise
            try:
                found[name] = float(value)
            except (TypeError, ValueError, RuntimeError):
                raise UserError(f"the metric {name!r} returned {sizes_of(value)}; expected one number") from None
        return found


def class_scores(predicted: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return accuracy and macro-F1 over the classes that are there, from the number of a class for each sample."""
    return {"accuracy": float((predicted == targets).mean()), "macro_f1": macro_f1(targets, predicted)}


def answers_of(
    rows: np.ndarray,
    kept: tuple[torch.Tensor, torch.Tensor] | None,
    class_names: Sequence[str] | None,
    *,
    are_classes: bool,
) -> Answers:
    """Return the mean loss of each sample of a `DatasetTask`, and what the model said and what was right, if it was `kept`."""
    losses = rows[:, 0] / np.where(rows[:, 1] > 0, rows[:, 1], 1)
    if kept is None:
        return Answers(losses=losses)
    said, right = (part.numpy() for part in kept)
    if are_classes:
        return Answers(losses=losses, labels=right, predicted=said, class_names=class_names)
    return Answers(losses=losses, outputs=said.reshape(len(rows), -1), targets=right.reshape(len(rows), -1))


def split_columns(
    columns: np.ndarray, parts: Sequence[tuple[torch.Size, torch.dtype]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the outputs and targets of all samples, as the model and the data set gave them, from columns side by side."""
    found, first = [], 0
    for shape, dtype in parts:
        size = shape.numel()
        part = torch.from_numpy(columns[:, first : first + size].copy())
        found.append(part.to(dtype).reshape(-1, *shape))
        first += size
    return found[0], found[1]


def _split(name: str, spec: Any) -> tuple[Metric, Direction | None]:
    parts = spec if isinstance(spec, (tuple, list)) else (spec,)
    words = [part for part in parts if isinstance(part, str)]
    functions = [part for part in parts if callable(part) and not isinstance(part, type)]
    if len(functions) != 1 or len(words) > 1 or not set(words) <= {"max", "min"} or len(parts) > 2:
        raise UserError(
            f"metrics: {name!r} must be a function of outputs and targets, or ('max', function) or ('min', function), got "
            f"{', '.join(repr(part) if isinstance(part, str) else _kind(part) for part in parts) or 'nothing'}"
        )
    higher = getattr(functions[0], "higher_is_better", None)
    if words:
        return functions[0], words[0]  # type: ignore[return-value]
    return functions[0], None if higher is None else "max" if higher else "min"


def _kind(part: Any) -> str:
    return f"the class {part.__name__}" if isinstance(part, type) else type(part).__name__


def _call(function: Any, outputs: torch.Tensor, targets: torch.Tensor) -> Any:
    """Return a metric of complete outputs and targets; an object of torchmetrics is used anew each time, on this rank alone."""
    if not all(callable(getattr(function, name, None)) for name in ("update", "compute", "reset")):
        return function(outputs, targets)
    function.reset()
    function.sync_on_compute = False
    function.update(outputs, targets)
    value = function.compute()
    function.reset()
    return value

"""What models return beside a tensor: the class scores in a dictionary, a dataclass, an output of `transformers`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..common.errors import UserError
from .samples.structure import as_mapping

_NAMES = ("logits", "scores")
"""Under which models return their class scores; the first is the name in `transformers`."""


def scores_of(outputs: Any, model: nn.Module, task: str) -> torch.Tensor:
    """Return a model's class scores: what it returns, or what that names `logits` or `scores`, or its only tensor.

    Raises `UserError` that says what the model returns if it does not say which of its tensors the scores are.
    """
    scores = main_tensor(outputs)
    if scores is not None:
        return scores
    named = _named(outputs)
    found = ", ".join(f"{name}: {_describe(value)}" for name, value in named.items()) or _describe(outputs)
    raise UserError(
        f"{task}: the model {type(model).__name__} returns a {type(outputs).__name__} ({found}), which does not say what the "
        "class scores are; return the scores alone, name them 'logits', or override `forward` of the task"
    )


def main_tensor(outputs: Any) -> torch.Tensor | None:
    """Return what a model returns, or what that names `logits` or `scores`, or its only tensor; None if that is not certain."""
    if isinstance(outputs, torch.Tensor):
        return outputs
    named = _named(outputs)
    for name in _NAMES:
        if isinstance(named.get(name), torch.Tensor):
            return named[name]
    tensors = [value for value in named.values() if isinstance(value, torch.Tensor)]
    return tensors[0] if len(tensors) == 1 else None


def _named(outputs: Any) -> dict[str, Any]:
    """Return what an output holds, by name or by place."""
    mapping = as_mapping(outputs)
    if mapping is not None:
        return {str(name): value for name, value in mapping.items()}
    if isinstance(outputs, tuple | list):
        names = getattr(outputs, "_fields", range(len(outputs)))
        return {str(name): value for name, value in zip(names, outputs, strict=True)}
    return {}


def _describe(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__


def check_scores(scores: torch.Tensor, labels: torch.Tensor, num_classes: int, task: str) -> None:
    """Raise `UserError` unless the scores are [samples, classes], floating point, with a column for each class."""
    right = scores.ndim == 2 and len(scores) == len(labels) and scores.shape[1] >= num_classes
    if right and scores.is_floating_point():
        return
    expected = f"[{len(labels)}, {num_classes}] (samples, classes)"
    raise UserError(
        f"{task}: the model returns {_describe(scores)} where class scores are due, floating point {expected}; "
        "change its last layer, or write a Task of your own for another loss"
    )

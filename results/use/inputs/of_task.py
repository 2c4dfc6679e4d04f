"""The samples of a task's own splits, and what its model says of them: for a task of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ....training.common.errors import UserError
from ....training.devices.ranks import Ranks
from ....training.tasks.classification import ClassificationTask
from ....training.tasks.origin.factory import find_factory
from ....training.tasks.outputs import main_tensor
from ....training.tasks.task import Batch, Task

SPLITS = ("train", "validation", "test")
_BATCH = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What a model says of all samples of a split, in the order of their indices."""

    outputs: np.ndarray | None
    """Float [samples, columns]: class scores, or other numbers of each sample; None: outputs of another form."""
    rows: np.ndarray
    """What the task's `metrics` takes, float [samples, columns]."""
    metrics: Mapping[str, Any]


def task_of_spec(made: Mapping[str, Any], data: str | None) -> Task:
    """Return the task that `spec.json` names, on the data of the run or on others. It runs what is named there.

    Raises `UserError`.
    """
    factory, arguments = find_factory(str(made["name"])), dict(made["arguments"])
    own, seed = arguments.pop("data", None), arguments.pop("seed", 0)
    task = factory.make(factory.bind(arguments, data=own if data is None else data, seed=seed))
    task.make_ready(Ranks.alone())
    return task


def measure_split(task: Task, model: nn.Module, split: str) -> Measured:
    """Return what a model in `eval()` says of a split, by the task's own functions. Raises `UserError` for an empty one."""
    count = task.num_samples(split)
    if count == 0:
        there = [name for name in SPLITS if task.num_samples(name)]
        raise UserError(f"--split {split}: {task.name} has no such samples; it has {', '.join(there) or 'none'}")
    dtype = next((one.dtype for one in model.parameters() if one.is_floating_point()), torch.float32)
    costs = task.costs(split)
    order = np.arange(count) if costs is None else np.argsort(-np.asarray(costs), kind="stable")
    outputs: list[torch.Tensor] = []
    rows: list[torch.Tensor] = []
    with torch.no_grad():
        for start in range(0, count, _BATCH):
            batch = batch_of(task, split, order[start : start + _BATCH], dtype)
            found = task.forward(model, batch)
            rows.append(task.measure(found, batch))
            main = main_tensor(found)
            if main is not None and main.ndim in (1, 2) and len(main) == len(batch.indices):
                outputs.append(main.double().reshape(len(main), -1))
    back = np.argsort(order)
    table = torch.cat(rows).double().numpy()[back]
    is_whole = len(outputs) == len(rows) and len({part.shape[1] for part in outputs}) == 1
    numbers = torch.cat(outputs).numpy()[back] if is_whole else None
    return Measured(outputs=numbers, rows=table, metrics=task.metrics(table, split))


def batch_of(task: Task, split: str, indices: np.ndarray, dtype: torch.dtype) -> Batch:
    """Return samples as they are evaluated, with floating-point tensors of `dtype`."""
    chosen = torch.from_numpy(np.ascontiguousarray(indices))
    tensors = task.fetch(split, chosen)
    cast = {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}
    return Batch(chosen, None, cast)


def class_names_of(task: Task, outputs: np.ndarray | None) -> tuple[str, ...] | None:
    """Return the names of the classes whose scores are the outputs; None where they are no class scores."""
    names = getattr(task, "class_names", None)
    tells_classes = isinstance(task, ClassificationTask) or names is not None or "macro_f1" in (task.metric_names or ())
    if outputs is None or outputs.shape[1] < 2 or not tells_classes:
        return None
    found = [str(name) for name in names or ()]
    return tuple([*found, *map(str, range(len(found), outputs.shape[1]))][: outputs.shape[1]])


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return class probabilities, float64 [samples, classes], of class scores."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)

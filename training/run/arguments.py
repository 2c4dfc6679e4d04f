"""What `train` is called with: each of its kind, or one sentence on what is not."""

from __future__ import annotations

from typing import Any

from ..common.errors import UserError
from ..observers.events import Observer
from ..tasks.task import Task
from .training_config import TrainingConfig


def check_arguments(config: Any, task: Any, observers: Any) -> None:
    """Raise `UserError` for an argument of another kind."""
    if not isinstance(config, TrainingConfig):
        hint = "; train(config, task) takes the task second" if isinstance(config, Task) else ""
        raise UserError(f"train: config must be a TrainingConfig(...), got {_kind(config)}{hint}")
    if task is not None and not isinstance(task, Task):
        hint = (
            f"give an object made from it: {task.__name__}(...)"
            if isinstance(task, type) and issubclass(task, Task)
            else "DatasetTask(make_model, train=data) makes one of a model and data"
        )
        raise UserError(f"train: task must be a slipway.Task, got {_kind(task)}; {hint}")
    if not isinstance(observers, (list, tuple)):
        raise UserError(f"observers: expected a list, [observer], got {_kind(observers)}")
    for one in observers:
        if not isinstance(one, Observer):
            raise UserError(f"observers: expected objects of classes made from slipway.Observer, got {_kind(one)}")
        _check_hooks(one)


def _check_hooks(observer: Observer) -> None:
    """Raise `UserError` for a method that is named as those that are called, and is none of them."""
    hooks = [name for name in dir(Observer) if name.startswith("on_")]
    for name in dir(type(observer)):
        if name.startswith("on_") and name not in hooks:
            raise UserError(
                f"observers: {type(observer).__name__}.{name} would never be called: an observer has {', '.join(hooks)}; a "
                "method of your own needs a name that does not begin with on_"
            )


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__

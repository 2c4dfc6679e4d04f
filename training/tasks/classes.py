"""The classes of a training split: the weight of each in the loss, and what is said where one of them is most of the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..common.errors import UserError, flag_of
from ..config.recipe import ClassWeights, Recipe
from .classification import ClassificationTask
from .task import Task


def training_labels(task: Task) -> np.ndarray | None:
    """Return the class of each training sample, int64 [samples]; None for a task that has no classes."""
    labels = None if type(task).labels is ClassificationTask.labels else task.labels("train")
    return None if labels is None else np.asarray(labels)


def check_classes(recipe: Recipe, task: Task) -> None:
    """Raise `UserError` if the recipe weighs classes and the task does not tell the class of each training sample."""
    for option, left_alone in (("sampling", "natural"), ("class_weights", "none")):
        value = getattr(recipe, option)
        if value == left_alone:
            continue
        labels, count = training_labels(task), task.num_samples("train")
        if labels is None:
            raise UserError(
                f"{flag_of(option)} {value}: the task {task.name!r} has no classes; leave the option out, or give targets "
                "that are numbers of classes, [samples], or a task with `labels`",
                option=option,
            )
        if len(labels) != count or labels.min() < 0:
            raise UserError(
                f"{flag_of(option)} {value}: `labels` of the task {task.name!r} must return a number from 0 up for each of "
                f"{count} training samples, got {len(labels)}, the least of them {labels.min()}",
                option=option,
            )


def class_weights(rule: ClassWeights, labels: np.ndarray) -> np.ndarray:
    """Return the weight of each class up to the highest of `labels`, float64 [classes]; 0 for one without samples.

    `balanced` is samples / (classes x samples of the class), as scikit-learn has it; `sqrt` is its square root.
    """
    counts = np.bincount(labels)
    present = counts > 0
    weights = np.zeros(len(counts))
    weights[present] = len(labels) / (present.sum() * counts[present]) if rule != "none" else 1.0
    return np.sqrt(weights) if rule == "sqrt" else weights


@dataclass(frozen=True, kw_only=True)
class Majority:
    """A class that is most of the training samples."""

    name: str
    share: float
    macro_f1: float
    """Of always saying it; its accuracy is the share."""


def find_majority(task: Task) -> Majority | None:
    """Return the class that has more than half of the training samples, and of two classes more than two thirds.

    One of two classes nearly always has more than half; with twice the samples of the other it is most of the data.
    """
    labels = task.labels_at_hand("train")
    if labels is None or len(labels) == 0:
        return None
    classes, counts = np.unique(labels, return_counts=True)
    num_classes, largest = len(classes), classes[counts.argmax()]
    share = float(counts.max() / len(labels))
    if num_classes < 2 or share <= max(1 / 2, 4 / (3 * num_classes)):
        return None
    name = str(task.class_names[largest] if isinstance(task, ClassificationTask) else largest)
    return Majority(name=name, share=share, macro_f1=2 * share / (1 + share) / num_classes)


def automatic_monitor(task: Task) -> str:
    """Return the metric that `--monitor auto` means: macro-F1 if one class is most of the data, else what the task says."""
    has_both = {"accuracy", "macro_f1"} <= set(task.metric_names or ())
    return "macro_f1" if has_both and find_majority(task) is not None else task.default_monitor

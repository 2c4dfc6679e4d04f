"""Weights of classes are those of the field's reference implementation; one class that is most of the data is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from slipway.training.common.errors import UserError
from slipway.training.tasks.classes import Majority, automatic_monitor, check_classes, class_weights, find_majority
from slipway.training.tasks.classification import ClassificationTask
from slipway.training.tasks.task import Task
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import make_recipe


def make_task(*counts: int, kind: type[TensorTask] = TensorTask) -> TensorTask:
    """Return a task with so many training samples of each class."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return kind(lambda: nn.Linear(3, len(counts)), {"train": (torch.zeros(len(labels), 3), labels)})


def test_balanced_weights_are_those_of_scikit_learn_and_sqrt_their_root() -> None:
    labels = np.repeat([0, 1, 3], [7, 90, 3])
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    found = class_weights("balanced", labels)
    assert found[[0, 1, 3]] == pytest.approx(expected)
    assert found[2] == 0
    assert class_weights("sqrt", labels) == pytest.approx(found**0.5)


@pytest.mark.parametrize(
    ("counts", "majority"),
    [
        ((95, 3, 1, 1), "0"),
        ((2, 95), "1"),
        ((40, 60), None),  # one of two classes nearly always has more than half
        ((30, 70), "1"),
        ((50, 25, 25), None),
        ((51, 25, 24), "0"),
        ((10, 10, 10), None),
        ((10,), None),
        ((10, 0), None),
        ((0, 95, 5), "1"),
    ],
)
def test_a_class_that_is_most_of_the_samples_is_found(counts: tuple[int, ...], majority: str | None) -> None:
    task = make_task(*counts)
    found = find_majority(task)
    assert (found.name if found else None) == majority
    assert automatic_monitor(task) == ("macro_f1" if majority else "accuracy")


def test_what_always_saying_it_would_score_is_what_scikit_learn_counts() -> None:
    found = find_majority(make_task(3, 95, 1, 1))
    assert isinstance(found, Majority)
    labels = np.repeat(np.arange(4), [3, 95, 1, 1])
    assert found.share == 0.95
    assert found.macro_f1 == pytest.approx(f1_score(labels, np.full(100, 1), average="macro", zero_division=0))


class OwnMetrics(TensorTask):
    def metrics(self, rows: np.ndarray, split: str) -> dict[str, Any]:
        return {"loss": float(rows[:, 0].mean()), "accuracy": 0.5}


def test_a_task_with_metrics_of_its_own_is_followed_by_its_accuracy() -> None:
    task = make_task(95, 5, kind=OwnMetrics)
    assert find_majority(task) is not None
    assert automatic_monitor(task) == "accuracy"


class Regression(TensorTask):
    """Has no classes, whatever it calls `labels`."""

    labels = ClassificationTask.labels


@pytest.mark.parametrize("options", [{"sampling": "balanced"}, {"sampling": "sqrt"}, {"class_weights": "balanced"}])
def test_classes_that_a_task_does_not_tell_are_refused(options: dict[str, str]) -> None:
    task: Task = make_task(5, 5, kind=Regression)
    assert automatic_monitor(task) == "accuracy"
    check_classes(make_recipe(), task)
    flag = "--" + next(iter(options)).replace("_", "-") + " " + next(iter(options.values()))
    with pytest.raises(UserError, match=f"^{flag}: the task 'tensors' has no classes; leave the option out, or give"):
        check_classes(make_recipe(**options), task)


class Truncated(TensorTask):
    def labels(self, split: str) -> np.ndarray:
        return super().labels(split)[1:] - 1


def test_labels_that_are_not_one_for_each_sample_are_refused() -> None:
    with pytest.raises(UserError, match="from 0 up for each of 10 training samples, got 9, the least of them -1"):
        check_classes(make_recipe(sampling="sqrt"), make_task(5, 5, kind=Truncated))

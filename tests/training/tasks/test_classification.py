"""Metrics are those of the field's reference implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score, top_k_accuracy_score

from slipway.training.tasks.classification import ClassificationTask, macro_f1
from slipway.training.tasks.task import Batch
from tests.training.helpers import make_task


def test_macro_f1_counts_the_classes_that_have_samples() -> None:
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 6, 200), random.integers(0, 8, 200)
    expected = f1_score(labels, predicted, labels=np.unique(labels), average="macro")
    assert macro_f1(labels, predicted) == pytest.approx(expected)
    assert macro_f1(np.array([0, 0, 10**12]), np.array([0, 0, 10**12])) == 1.0


def test_thousands_of_classes_have_scores_but_no_matrix_of_all_pairs() -> None:
    task: ClassificationTask = make_task(num_validation=60)
    task.class_names = [str(number) for number in range(50_000)]
    rows = np.stack([np.ones(60), task.labels("validation"), np.zeros(60)], axis=1)
    found = task.metrics(rows, "validation")
    assert found == {"loss": 1.0, "accuracy": 1.0, "top5_accuracy": 1.0, "macro_f1": 1.0}


def test_metrics_from_scores_agree_with_scikit_learn() -> None:
    task: ClassificationTask = make_task(num_validation=60)
    task.class_names = [str(number) for number in range(9)]
    scores = torch.randn(60, 9, generator=torch.Generator().manual_seed(1))
    labels = torch.from_numpy(task.labels("validation"))
    rows = task.measure(scores, Batch(torch.arange(60), None, {"labels": labels})).numpy()
    found = task.metrics(rows, "validation")
    assert found["accuracy"] == pytest.approx((scores.argmax(1) == labels).double().mean().item())
    expected = top_k_accuracy_score(labels.numpy(), scores.numpy(), k=5, labels=np.arange(9))
    assert found["top5_accuracy"] == pytest.approx(expected)
    assert found["loss"] == pytest.approx(torch.nn.functional.cross_entropy(scores, labels).item(), rel=1e-6)
    matrix = confusion_matrix(labels.numpy(), scores.argmax(1).numpy(), labels=np.arange(9))
    assert found["confusion_matrix"] == matrix.tolist()

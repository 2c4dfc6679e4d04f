"""What classification tasks share: a cross-entropy for each sample, and metrics from one row for each sample."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..common.run_names import ANSWERS
from ..config.recipe import Stage
from .answers import Answers
from .sign.options import CLASSIFICATION_METRICS, ClassificationStage
from .task import Batch, Task

logger = logging.getLogger("slipway")

MOST_MATRIX_CLASSES = 500
TOP = 5
"""Of the top-5 accuracy, which is not measured of so many classes or fewer: there it is always 1."""


class ClassificationTask(Task):
    """A task whose outputs are class scores [samples, classes] and whose batches carry `labels`, int64 [samples]."""

    class_names: Sequence[str]
    stage_options: type | None = ClassificationStage

    def losses(self, outputs: torch.Tensor, batch: Batch, stage: Stage | None) -> torch.Tensor:
        """Return the cross-entropy of each sample, with the stage's label smoothing in training."""
        smoothing = getattr(stage.options, "label_smoothing", 0.0) if stage is not None else 0.0
        return F.cross_entropy(outputs, batch.tensors["labels"], reduction="none", label_smoothing=smoothing)

    def measure(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return loss, predicted class and how many classes score above the right one, [samples, 3]."""
        labels = batch.tensors["labels"]
        outputs = outputs.to(torch.float64) if outputs.device.type != "mps" else outputs.float()
        losses = F.cross_entropy(outputs, labels, reduction="none")
        better = (outputs > outputs.gather(1, labels[:, None])).sum(dim=1)
        return torch.stack([losses, outputs.argmax(dim=1).to(losses.dtype), better.to(losses.dtype)], dim=1)

    def labels(self, split: str) -> np.ndarray:
        """Return the labels of a split, int64 [samples]: those that its batches carry."""
        raise NotImplementedError

    def labels_at_hand(self, split: str) -> np.ndarray | None:
        """Return the labels of a split, if the task tells them."""
        return None if type(self).labels is ClassificationTask.labels else self.labels(split)

    @property
    def metric_names(self) -> Sequence[str] | None:
        """The metrics of `metrics`, if it is this one."""
        if type(self).metrics is not ClassificationTask.metrics:
            return None
        return [name for name in CLASSIFICATION_METRICS if name != "top5_accuracy" or len(self.class_names) > TOP]

    def metrics(self, rows: np.ndarray, split: str) -> dict[str, Any]:
        """Return loss, accuracy, of more than five classes top-5 accuracy, macro-F1 over the classes present, confusion matrix.

        The matrix of more than `MOST_MATRIX_CLASSES` is left out: of 5,000 it is 25 million numbers, nearly all 0.
        """
        labels = self.labels(split)
        predicted = rows[:, 1].astype(np.int64)
        num_classes = len(self.class_names)
        named = predicted < num_classes
        found: dict[str, Any] = {
            "loss": float(rows[:, 0].mean()),
            "accuracy": float((predicted == labels).mean()),
            **({"top5_accuracy": float((rows[:, 2] < TOP).mean())} if num_classes > TOP else {}),
            "macro_f1": macro_f1(labels[named], predicted[named]),
        }
        if num_classes <= MOST_MATRIX_CLASSES:
            matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
            np.add.at(matrix, (labels[named], predicted[named]), 1)
            found["confusion_matrix"] = matrix.tolist()
        elif split == "test":
            logger.info("no confusion matrix of %s classes: %s has the pairs that occur", f"{num_classes:,}", ANSWERS)
        return found

    def answers(self, rows: np.ndarray, split: str) -> Answers:
        """Return the classes that the model said, if the rows are those of this `measure`."""
        if type(self).measure is not ClassificationTask.measure:
            return super().answers(rows, split)
        losses, predicted = rows[:, 0], rows[:, 1].astype(np.int64)
        return Answers(
            losses=losses,
            labels=self.labels(split),
            predicted=predicted,
            probabilities=np.exp(-losses),
            class_names=self.class_names,
        )


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean F1 of the classes that have samples, from the right and the predicted class of each, int64 [samples].

    F1 of a class is 2 right / (samples + predictions): the harmonic mean of its precision and its recall.
    """
    classes, numbers = np.unique(np.concatenate([labels, predicted]), return_inverse=True)
    own, said = np.split(numbers, 2)
    samples, predictions = np.bincount(own, minlength=len(classes)), np.bincount(said, minlength=len(classes))
    right = np.bincount(own[own == said], minlength=len(classes))
    present = samples > 0
    return float((2 * right[present] / (samples + predictions)[present]).mean())

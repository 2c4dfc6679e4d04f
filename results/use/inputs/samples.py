"""Samples to predict, and what a model says of them."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ....training.common.errors import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Samples in the order of their source."""

    items: Sequence[Any]
    """What the predictor takes: clips [frames, landmarks, coords], files of pictures, texts."""
    names: Sequence[str]
    """The place of each in its source."""
    labels: Sequence[str] | None = None
    """The class of each by its name, as the source says; None: it says none."""
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What samples have in common, by kind, such as `signer`: one text for each sample."""
    notes: tuple[str, ...] = ()
    """What was decided while they were read, and what is doubtful, one sentence each."""

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says of one sample."""

    label: str
    """The most probable class."""
    probability: float
    """Of that class, from 0 to 1."""
    probabilities: Mapping[str, float]
    """Of each class, the most probable first."""

    def top(self, count: int) -> list[tuple[str, float]]:
        """Return the most probable classes with their probabilities, the most probable first."""
        return list(self.probabilities.items())[:count]


class Predictor(abc.ABC):
    """A trained model that tells classes, and what its samples are made of."""

    class_names: tuple[str, ...]

    @abc.abstractmethod
    def read(self, source: str) -> Samples:
        """Return the samples of a file, a folder or a data set. Raises `UserError` for what the model does not take."""

    @abc.abstractmethod
    def take(self, values: Sequence[Any]) -> Samples:
        """Return samples of values of a program. Raises `UserError` for what the model does not take."""

    @abc.abstractmethod
    def probabilities(self, items: Sequence[Any]) -> np.ndarray:
        """Return class probabilities, float [samples, classes], of the items of `Samples`."""


def predictions_of(class_names: Sequence[str], probabilities: np.ndarray) -> list[Prediction]:
    """Return predictions of class probabilities, [samples, classes]; of equal ones the first class comes first."""
    found = []
    for row in probabilities:
        order = np.argsort(-row, kind="stable").tolist()
        by_name = {class_names[index]: float(row[index]) for index in order}
        best = class_names[order[0]]
        found.append(Prediction(label=best, probability=by_name[best], probabilities=by_name))
    return found


def check_finite(probabilities: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return probabilities. Raises `UserError` with the place of a sample for which a model returns no numbers."""
    wrong = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if len(wrong):
        raise UserError(
            f"{names[wrong[0]]}: the model returns no finite number for it, and for {len(wrong)} of {len(probabilities)} "
            "samples in all; look for numbers far out of range in it"
        )
    return probabilities

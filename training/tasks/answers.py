"""What a model answered for the samples of a split: which are most wrong, and how often which class is said for which."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .task import Task

MOST_LISTED = 50
MOST_SHOWN = 24
"""Of those listed so many are also shown as they are."""

MOST_NUMBERS = 8
"""Of what a model says of a sample, to be kept."""
MOST_RIGHT, MOST_LOSSES = 1_000_000, 50_000
"""Samples of which it is kept whether each was answered rightly, and what its loss was."""

_FARTHEST, _MISSING = 32_000, -32_768


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers for the samples of a split, in the order of their indices."""

    losses: np.ndarray
    """Float [samples], the loss of each."""
    labels: np.ndarray | None = None
    """Int64 [samples], the right class of each; None: a task without classes."""
    predicted: np.ndarray | None = None
    """Int64 [samples], the class that the model said."""
    probabilities: np.ndarray | None = None
    """Float [samples], what the model gave to the right class; None: unknown."""
    class_names: Sequence[str] | None = None
    """By the number of the class."""
    outputs: np.ndarray | None = None
    """Float [samples, numbers], what the model said where that are no classes; None: not kept."""
    targets: np.ndarray | None = None
    """Float [samples, numbers], what was right."""


def describe_answers(task: Task, answers: Answers, split: str) -> dict[str, Any]:
    """Return what is kept of the answers for a split, as plain values of bounded size.

    `worst` are the `MOST_LISTED` samples of the highest loss, of a task with classes only those whose class is wrong.
    `confusion` is [right class, said class, samples] for each pair that occurs. `right` tells of each sample in the order of
    the indices whether its class was said, eight in a byte from the highest bit on, and `losses` are float32, little-endian;
    both in base64, for other runs to be compared on the same samples, and None of more samples than are kept.
    """
    losses = np.nan_to_num(np.asarray(answers.losses, dtype=np.float64), nan=np.inf)
    found: dict[str, Any] = {"split": split, "samples": len(losses), "mistakes": None, "right": None, "losses": None}
    if len(losses) <= MOST_LOSSES:
        with np.errstate(over="ignore"):  # beyond float32 it is infinite
            found["losses"] = b64encode(losses.astype("<f4").tobytes()).decode()
    candidates = np.arange(len(losses))
    if answers.labels is not None and answers.predicted is not None:
        has_class = answers.labels >= 0  # not one that the loss ignores
        candidates = np.flatnonzero(has_class & (answers.labels != answers.predicted))
        both = np.stack([answers.labels, answers.predicted], axis=1)[has_class]
        pairs, counts = np.unique(both, axis=0, return_counts=True)
        found["mistakes"] = len(candidates)
        if len(losses) <= MOST_RIGHT:
            found["right"] = b64encode(
                np.packbits(has_class & (answers.labels == answers.predicted)).tobytes()
            ).decode()
        found["class_names"] = None if answers.class_names is None else list(answers.class_names)
        found["confusion"] = np.column_stack([pairs, counts]).tolist()
    order = candidates[np.argsort(-losses[candidates], kind="stable")[:MOST_LISTED]]
    found["worst"] = [_describe(task, answers, split, int(index), number) for number, index in enumerate(order)]
    return found


def pack_clip(clip: np.ndarray) -> dict[str, Any]:
    """Return the places of landmarks in the picture, from [frames, landmarks, coords], to be unpacked by `unpack_clip`.

    They are kept in thousandths, up to 32 units from the centre: as little-endian int16, in base64.
    """
    places = np.zeros((*clip.shape[:2], 2))
    places[..., : min(2, clip.shape[2])] = clip[..., :2]
    whole = np.clip(places * 1000, -_FARTHEST, _FARTHEST).round()
    whole[np.isnan(places).any(axis=2)] = _MISSING
    return {"frames": clip.shape[0], "landmarks": clip.shape[1], "points": b64encode(whole.astype("<i2")).decode()}


def unpack_clip(packed: Mapping[str, Any]) -> np.ndarray:
    """Return [frames, landmarks, 2] of what `pack_clip` returned, missing ones as NaN. Raises `ValueError`."""
    try:
        shape = (int(packed["frames"]), int(packed["landmarks"]), 2)
        whole = np.frombuffer(b64decode(packed["points"], validate=True), "<i2").reshape(shape)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a packed clip: {error}") from error
    return np.where(whole == _MISSING, np.nan, whole / 1000)


def _describe(task: Task, answers: Answers, split: str, index: int, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {"index": index, "loss": float(answers.losses[index])}
    if answers.labels is not None and answers.predicted is not None:
        row |= {"label": int(answers.labels[index]), "predicted": int(answers.predicted[index])}
    for name, numbers in (("output", answers.outputs), ("target", answers.targets)):
        if numbers is not None and numbers.shape[1] <= MOST_NUMBERS:
            row[name] = numbers[index].tolist()
    if answers.probabilities is not None:
        row["probability"] = float(answers.probabilities[index])
    return {**row, **(task.show(split, index) if number < MOST_SHOWN else {})}

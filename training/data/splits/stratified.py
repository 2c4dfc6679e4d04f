"""Splits with each class in its share; what must stay together stays together."""

from __future__ import annotations

import dataclasses

import numpy as np

from ...common.apportion import apportion
from ...common.errors import UserError
from .clips import TRAIN, VALIDATION, Clips, count, count_clips
from .grouped import assign_groups


def hold_out(
    parts: np.ndarray, clips: Clips, into: tuple[int, ...], fraction: float, rng: np.random.Generator, notes: list[str]
) -> None:
    """Move a stratified share of train into other splits, of equal size; copies and groups stay together.

    Without groups, classes with fewer than 3 different clips stay in train (fewer than 2 if no class has 3).
    scikit-learn's stratified splitters refuse such rare classes; the shares of the others are rounded by largest
    remainders over all classes.
    """
    rows = np.flatnonzero(parts == TRAIN)
    if clips.group is not None:
        shares = [1.0 - fraction, *[fraction / len(into)] * len(into)]
        drawn = assign_groups(clips.together(rows), clips.labels[rows], shares, rng)
        if not drawn.any():
            raise UserError(
                f"{clips.name}: no class has clips of two groups, so none can be tested on another group than it is "
                f"trained on; leave --group {clips.group} out"
            )
        parts[rows] = np.array([TRAIN, *into])[drawn]
        if VALIDATION in into and not (parts == VALIDATION).any():
            hold_out_validation(parts, clips, fraction / 2, rng, notes)
        return
    units, first_rows = np.unique(clips.originals[rows], return_index=True)
    labels = clips.labels[rows[first_rows]]
    sizes = np.bincount(labels)
    smallest = 3 if sizes.max(initial=0) >= 3 else 2
    rare = (sizes > 0) & (sizes < smallest)
    if rare.any():
        notes.append(
            f"{count(np.count_nonzero(rare), 'class', 'classes')} with fewer than {smallest} different clips "
            f"({count_clips(sizes[rare].sum())}) kept in train"
        )
    eligible = np.where(rare, 0, sizes)
    counts = np.minimum(_apportion(fraction, eligible, len(into), rng), np.maximum(eligible - 1, 0))
    held = _draw(labels, counts, rng)
    parts_of_units = np.full(len(units), TRAIN)
    parts_of_units[held] = into[0]
    if len(into) == 2:
        second = _draw(labels[held], _apportion(0.5, np.bincount(labels[held], minlength=len(sizes)), 1, rng), rng)
        parts_of_units[held[second]] = into[1]
    parts[rows] = parts_of_units[np.searchsorted(units, clips.originals[rows])]


def hold_out_validation(
    parts: np.ndarray, clips: Clips, fraction: float, rng: np.random.Generator, notes: list[str]
) -> None:
    """Move a stratified share of train into validation: whole groups where at least two of a class are left in train."""
    rows = np.flatnonzero(parts == TRAIN)
    if clips.group is not None:
        together = clips.together(rows)
        drawn = assign_groups(together, clips.labels[rows], [1.0 - fraction, fraction], rng, kept=2)
        if drawn.any():
            parts[rows[drawn > 0]] = VALIDATION
            return
        notes.append(f"groups ({clips.group}) are few: validation is of groups in train")
    hold_out(parts, dataclasses.replace(clips, group=None), (VALIDATION,), fraction, rng, notes)


def deal(together: np.ndarray, labels: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Return the fold of each clip: those with one number in `together` in one, each class and all sizes even.

    Where no number holds two clips of different size the folds differ by one at most, in all and in each class.
    """
    units, first = np.unique(together, return_index=True)
    if len(units) < len(together):
        return assign_groups(together, labels, [1.0 / folds] * folds, rng)
    of_unit = np.empty(len(units), dtype=np.int64)
    shuffled = rng.permutation(len(units))
    in_order = shuffled[np.argsort(labels[first][shuffled], kind="stable")]
    of_unit[in_order] = (np.arange(len(units)) + rng.integers(folds)) % folds
    return of_unit[np.searchsorted(units, together)]


def _apportion(fraction: float, sizes: np.ndarray, at_least: int, rng: np.random.Generator) -> np.ndarray:
    """Return how many to take of each class, in proportion; `rng` decides ties between classes."""
    counts = np.zeros_like(sizes)
    if sizes.sum() > 0:
        total = min(max(round(fraction * sizes.sum()), at_least), int(sizes.sum()))
        order = rng.permutation(len(sizes))
        counts[order] = apportion(total, sizes[order].tolist())
    return counts


def _draw(labels: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return positions of `counts[class]` random members of each class."""
    drawn = [rng.permutation(np.flatnonzero(labels == label))[: counts[label]] for label in np.flatnonzero(counts)]
    return np.concatenate([np.empty(0, dtype=np.int64), *drawn])

"""What the numbers of a frame are like over the whole set, found in blocks: their ranges, and those that tell the class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_BLOCK_BYTES = 1 << 21
_ROWS_AT_A_TIME = 16


def blocks(values: np.ndarray) -> Iterator[slice]:
    """Yield slices of rows of about 2 MB each, which fit in a cache."""
    rows = max(1, _BLOCK_BYTES // max(1, values[:1].nbytes))
    for start in range(0, len(values), rows):
        yield slice(start, min(start + rows, len(values)))


def may_hold_gaps(block: np.ndarray) -> bool:
    """Return False if no number of a contiguous block is NaN: one sum of squares says it, in a quarter of the time."""
    flat = block.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        return not np.isfinite(np.dot(flat, flat))


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """The numbers of a frame, column by column, over the whole set."""

    low: np.ndarray
    """The least number of each column, [numbers]; NaN if there is none."""
    high: np.ndarray
    labels: np.ndarray
    """bool [numbers]: the same in all frames of a class, another in each class, and whole: the number of the class."""
    leaks: np.ndarray
    """bool [numbers]: the same in all frames of a class, and not in all classes."""

    @property
    def dead(self) -> np.ndarray:
        """bool [numbers]: 0 in the whole set."""
        return (self.low == 0) & (self.high == 0)

    @property
    def absent(self) -> np.ndarray:
        """bool [numbers]: missing in the whole set."""
        return np.isnan(self.low)

    def are_within(self, columns: np.ndarray, low: float, high: float) -> bool:
        """Return whether all numbers of some columns are in a range."""
        return bool(((self.low[columns] >= low) & (self.high[columns] <= high) | self.absent[columns]).all())

    def largest(self, columns: np.ndarray) -> float:
        """Return the largest size of a number in some columns; 0 if there is none."""
        sizes = np.fmax(np.abs(self.low[columns]), np.abs(self.high[columns]))
        return float(np.nanmax(sizes, initial=0.0)) if sizes.size else 0.0


def look_at(values: np.ndarray, labels: np.ndarray, lengths: np.ndarray, num_classes: int) -> Columns:
    """Return what the columns of `values` [frames, numbers] are like, with the labels and lengths of the clips.

    With a clip without a label, -1, nothing is known to tell the class.
    """
    low = np.full(values.shape[1], np.nan, dtype=np.float32)
    high = low.copy()
    for rows in blocks(values):
        low, high = _reduced(np.fmin, values[rows], low), _reduced(np.fmax, values[rows], high)
    leaks = np.zeros(values.shape[1], dtype=bool)
    is_label = leaks.copy()
    if labels.min() < 0:
        return Columns(low=low, high=high, labels=is_label, leaks=leaks)
    numbers, constants = _constant_in_class(values, np.repeat(labels, lengths), num_classes)
    present = ~np.isnan(constants).all(axis=1)
    for number, of_class in zip(numbers.tolist(), constants[present].T, strict=True):
        distinct = np.unique(of_class)
        leaks[number] = len(distinct) > 1
        is_label[number] = len(distinct) == len(of_class) > 1 and bool((of_class == np.floor(of_class)).all())
    # Of a class with one frame everything is constant; and numbers that are constant by the dozen are no label.
    if len(values) < 2 * num_classes or leaks.sum() > 0.1 * len(leaks) + 3:
        leaks[:], is_label[:] = False, False
    return Columns(low=low, high=high, labels=is_label, leaks=leaks)


def _reduced(least_or_most: np.ufunc, block: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return the least or the most of each column of a block and of what was found before; NaN only if all are.

    Rows are taken 16 at a time: NumPy reduces long rows several times as fast as short ones.
    """
    whole = len(block) // _ROWS_AT_A_TIME * _ROWS_AT_A_TIME
    if whole and block.flags.c_contiguous:
        wide = least_or_most.reduce(block[:whole].reshape(-1, _ROWS_AT_A_TIME * block.shape[1]), axis=0)
        before = least_or_most(before, least_or_most.reduce(wide.reshape(_ROWS_AT_A_TIME, -1), axis=0))
        block = block[whole:]
    return least_or_most(before, least_or_most.reduce(block, axis=0)) if len(block) else before


def _constant_in_class(values: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers, [found], that are the same in all frames of each class, and their values, [classes, found]."""
    first = np.full(num_classes, -1)
    present, rows_of = np.unique(labels, return_index=True)
    first[present] = rows_of
    numbers = np.arange(values.shape[1])
    for rows in blocks(values):
        own = values[rows] if len(numbers) == values.shape[1] else values[rows][:, numbers]
        is_constant = np.ones(len(numbers), dtype=bool)
        # A few frames first: they rule out nearly all.
        for part in (slice(0, 64), slice(64, None)):
            seen = own[part][:, is_constant]
            if seen.size:
                expected = values[np.ix_(first[labels[rows][part]], numbers[is_constant])]
                is_constant[is_constant] = (seen == expected).all(axis=0)
        numbers = numbers[is_constant]
        if not len(numbers):
            break
    constants = values[np.ix_(np.maximum(first, 0), numbers)].astype(np.float64)
    constants[first < 0] = np.nan
    return numbers, constants

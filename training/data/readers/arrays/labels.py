"""The classes of clips from an array: texts, whole numbers in any type, or one column a class of which one is 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...text import plain_label
from ..label_names import ClassNames
from ..raw import Faults, cut

_MOST_ROWS = 3


def decode_labels(values: np.ndarray, where: str, faults: Faults) -> np.ndarray | list[str] | None:
    """Return the class of each clip: a number, int64 [clips], or a text. Adds to `faults` and returns None for others."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind in "US" and values.ndim == 1:
        texts = [plain_label(value) for value in values.tolist()]
        is_numbers = all(text.isdecimal() and text.isascii() for text in texts)
        return np.array([int(text) for text in texts], dtype=np.int64) if texts and is_numbers else texts
    if values.dtype.kind not in "fiub" or values.ndim not in (1, 2):
        faults.add(
            f"{where}: {values.dtype} {list(values.shape)} are no labels; store a number or a text for each clip"
        )
        return None
    if values.ndim == 2:
        return _of_columns(values, where, faults)
    whole = (
        np.isfinite(values) & (values == np.floor(values)) if values.dtype.kind == "f" else np.ones(len(values), bool)
    )
    for row in np.flatnonzero(~whole).tolist():
        faults.add(f"{where}, row {row}: {cut(values[row])} is no class; a class is a whole number or a text")
    return values.astype(np.int64) if whole.all() else None


def _of_columns(values: np.ndarray, where: str, faults: Faults) -> np.ndarray | None:
    is_one = values == 1
    ones = is_one.sum(axis=1)
    is_hot = (ones == 1) & (is_one | (values == 0)).all(axis=1)
    if not is_hot.any() and len(values):
        faults.add(
            f"{where}: {list(values.shape)} is neither one number for each clip nor one-hot (a 1 in each row, else 0); "
            "store the numbers of the classes, such as y.argmax(axis=1)"
        )
        return None
    for row in np.flatnonzero(~is_hot).tolist():
        what = f"{ones[row]} columns are 1" if ones[row] != 1 else "a number is neither 0 nor 1"
        faults.add(f"{where}, row {row}: {what}; one-hot labels have a single 1 and else 0")
    return np.asarray(is_one.argmax(axis=1), dtype=np.int64) if is_hot.all() else None


def name_labels(
    parts: Sequence[np.ndarray | list[str]], names: ClassNames | None, columns: int | None, where: str, faults: Faults
) -> tuple[list[str], list[str] | None, list[str]]:
    """Return the name of the class of each clip, the classes in order if they are known, and notes.

    `parts` are the labels of each split, `columns` the columns of one-hot ones. Numbers that count from 1 are known by
    the count of the names.
    """
    if any(isinstance(part, list) for part in parts):
        texts = [str(value) for part in parts for value in part]
        if names is None:
            return texts, None, []
        unknown = sorted(set(texts) - set(names.in_order))
        if not unknown:
            return texts, names.in_order, []
        return texts, None, [f"{names.source} is not used: {cut(unknown[0])} is not among its names"]
    numbers = np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])
    if names is None:
        return [str(number) for number in numbers.tolist()], None, []
    by_number, notes = dict(names.by_number), []
    if columns is not None and columns != len(by_number):
        faults.add(
            f"{where}: {columns} columns, where {names.source} names {len(by_number)} classes; use the one of this data"
        )
        return [], None, []
    used = set(numbers.tolist())
    if not used <= set(by_number) and used <= {number + 1 for number in by_number} and min(by_number) == 0:
        by_number = {number + 1: name for number, name in by_number.items()}
        notes.append(f"the labels count from 1: class 1 is {by_number[1]!r}")
    for number in sorted(used - set(by_number)):
        rows = np.flatnonzero(numbers == number)
        faults.add(
            f"{where}: class {number} (of {len(rows):,} clips) has no name in {names.source}, which names "
            f"{min(by_number)} to {max(by_number)}; add it there"
        )
    if used - set(by_number):
        return [], None, []
    in_order = [by_number[number] for number in sorted(by_number)]
    notes.append(f"the names of the classes are those of {names.source}")
    return [by_number[number] for number in numbers.tolist()], in_order, notes

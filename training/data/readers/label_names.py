"""The names of class numbers in a file beside the data: `*label*.csv`, `label_map.json`, `labels.txt`, `classes.txt`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ..text import LABEL_COLUMNS, files_with, find_column, plain_label, read_text
from .raw import Faults, RawClips, cut
from .tables.csv_rows import first_rows, is_number, read_rows

_STEMS = ("label", "class", "sign_to_prediction_index_map", "index_to_sign", "actions", "gestures")
_MOST_COLUMNS = 2


def is_label_file(file: Path) -> bool:
    """Return whether a file holds names of classes by its name and, for a CSV, by its columns."""
    if not any(stem in file.stem.lower() for stem in _STEMS):
        return False
    if file.suffix.lower() == ".csv":
        return all(len(row) <= _MOST_COLUMNS for row in first_rows(file, 2))
    return file.suffix.lower() in (".json", ".txt")


def names_beside(file: Path, others: Sequence[Path], encoding: str | None) -> tuple[Path, dict[str, str]] | None:
    """Return the label file that belongs to a data file and what it names, number -> name in order; `None` without one.

    It is a file in the same folder whose name begins like the data's and not like that of another one of `others`, or one
    of a general name such as `label_map.json`. Raises `UserError` for two that differ.
    """
    stems = {other.stem for other in others} | {file.stem}
    own: list[Path] = []
    general: list[Path] = []
    for candidate in files_with(file.parent, ".csv", ".json", ".txt"):
        if candidate == file or not is_label_file(candidate):
            continue
        owners = [stem for stem in stems if candidate.stem.startswith(stem)]
        if owners and max(owners, key=len) == file.stem:
            own.append(candidate)
        elif not owners and (len(stems) == 1 or candidate.suffix.lower() == ".json"):
            general.append(candidate)
    found = {candidate: names_in(candidate, encoding) for candidate in own or general}
    found = {candidate: names for candidate, names in found.items() if names}
    if len({tuple(names.items()) for names in found.values()}) > 1:
        listed = " and ".join(candidate.name for candidate in found)
        raise UserError(f"{file.parent}: {listed} name the classes differently; keep the right one")
    return next(iter(found.items()), None)


def with_names(raw: RawClips, file: Path, others: Sequence[Path], encoding: str | None, faults: Faults) -> RawClips:
    """Return the clips of a file with the names in the label file beside it, if there is one, for the numbers of classes.

    Numbers that it does not name go to `faults`.
    """
    beside = names_beside(file, others, encoding)
    if beside is None:
        return raw
    label_file, names = beside
    found = set(raw.labels) - {""}
    if not found <= names.keys() and found <= set(names.values()):
        return replace(raw, class_names=list(names.values()))
    if not any(is_number(label) for label in found):
        return raw  # names that stand in the data itself: the file is that of other data
    first = {label: index for index, label in reversed(list(enumerate(raw.labels)))}
    for label in sorted(found - names.keys(), key=lambda label: first[label]):
        faults.add(
            f"{raw.where(first[label])}: class {cut(label)}, but {label_file.name} names {len(names)} classes, "
            f"from {next(iter(names))} to {list(names)[-1]}"
        )
    labels = [names.get(label, label) for label in raw.labels]
    return replace(raw, class_names=list(names.values()), labels=labels)


def names_in(file: Path, encoding: str | None) -> dict[str, str]:
    """Return the names of classes in a label file, number -> name in order; empty if it holds none.

    A text file has a name a line, a CSV too, or a number and a name; JSON is a list, or names and numbers either way round.
    """
    suffix = file.suffix.lower()
    if suffix == ".json":
        return _names_in_json(file, encoding)
    if suffix == ".txt":
        lines = [line.strip() for line in read_text(file, encoding).splitlines()]
        pairs = [line.replace(":", " ", 1).split(None, 1) for line in lines if line]
        if pairs and all(len(pair) == 2 and pair[0].isdecimal() for pair in pairs):
            return _ordered({pair[0]: pair[1] for pair in pairs}, file)
        return _counted([line for line in lines if line])
    rows = [[plain_label(cell) for cell in row] for row in read_rows(file, encoding).cells]
    if rows and len(rows[0]) == 1:
        has_header = find_column(rows[0], LABEL_COLUMNS) is not None and len(rows) > 1
        return _counted([row[0] for row in rows[int(has_header) :]])
    if rows and not any(is_number(cell) for cell in rows[0]):
        rows = rows[1:]
    for number, name in ((0, 1), (1, 0)):
        if rows and all(row[number].isdecimal() for row in rows):
            return _ordered({row[number]: row[name] for row in rows}, file)
    return {}


def _names_in_json(file: Path, encoding: str | None) -> dict[str, str]:
    try:
        content: Any = json.loads(read_text(file, encoding))
    except ValueError as error:
        raise UserError(f"{file}: is not JSON ({error})") from None
    if (
        isinstance(content, dict)
        and len(content) == 1
        and isinstance(only := next(iter(content.values())), dict | list)
    ):
        content = only
    if isinstance(content, list) and all(isinstance(name, str | int) for name in content):
        return _counted(content)
    if isinstance(content, dict) and content:
        keys, values = list(content), list(content.values())
        if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            return _ordered({str(value): key for key, value in content.items()}, file)
        if all(key.isdecimal() for key in keys) and all(isinstance(value, str) for value in values):
            return _ordered(content, file)
    return {}


def _counted(names: Sequence[object]) -> dict[str, str]:
    return {str(number): plain_label(name) for number, name in enumerate(names)}


def _ordered(name_of: Mapping[str, str], file: Path) -> dict[str, str]:
    """Return the names in the order of their numbers. Raises `UserError` if these do not run from 0 or 1 without a gap."""
    numbers = sorted(map(int, name_of))
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] not in (0, 1):
        raise UserError(f"{file}: the numbers of the classes are {numbers[:12]}; they run from 0 or 1 without a gap")
    by_number = {int(number): plain_label(name) for number, name in name_of.items()}
    return {str(number): by_number[number] for number in numbers}

"""Where the names of class numbers come from: a file in the folder of the data that holds nothing else.

It is a file named after what it holds (`label_map.json`, `classes.txt`, `labels.json`, `actions.npy`), or, beside tables, one
that is named after a table too (`keypoint_classifier_label.csv`). It has a name a line, a number and a name, a list, names
and their numbers either way round, or an array of texts. Two files that name different classes are an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ..text import LABEL_COLUMNS, files_with, find_column, plain_label, read_text
from .numpy_files import load_arrays
from .raw import Faults, RawClips, cut
from .tables.csv_rows import first_rows, is_number, read_rows

_WORDS = ("label", "class", "sign_to_prediction_index_map", "index_to_sign", "actions", "gestures")
"""What stands in the names of label files beside tables."""
_STEMS = frozenset(
    (
        *("labels", "labelmap", "labelsmap", "labelnames", "labelclasses", "labelencoder", "labelencoderclasses"),
        *("classes", "classnames", "classmap", "classindices", "classlabels", "actions", "gestures", "signs", "words"),
        *("labeltoindex", "labeltoidx", "labeltoid", "indextolabel", "idxtolabel", "idtolabel", "label2id", "id2label"),
    )
)
"""The names of files beside arrays, whose own names may have such words: without spaces and signs between words."""
_OF_ARRAYS, _OF_TABLES = (".json", ".txt", ".npy"), (".csv", ".json", ".txt")
_PICKLES = (".pkl", ".pickle", ".joblib")
_MOST_COLUMNS = 2


@dataclass(frozen=True, kw_only=True)
class ClassNames:
    """The name of each number of a class."""

    source: str
    """The name of the file or array."""
    by_number: Mapping[int, str]

    @property
    def in_order(self) -> list[str]:
        """The names in the order of their numbers."""
        return [self.by_number[number] for number in sorted(self.by_number)]


def is_names_file(name: str) -> bool:
    """Return whether a file beside arrays may hold the names of classes by its name."""
    path = Path(name)
    return path.suffix.lower() in _OF_ARRAYS and re.sub(r"[\s_-]", "", path.stem).lower() in _STEMS


def is_label_file(file: Path) -> bool:
    """Return whether a file beside tables holds names of classes by its name and, for a CSV, by its columns."""
    if not any(word in file.stem.lower() for word in _WORDS):
        return False
    if file.suffix.lower() == ".csv":
        return all(len(row) <= _MOST_COLUMNS for row in first_rows(file, 2))
    return file.suffix.lower() in _OF_TABLES


def names_beside_arrays(
    folder: Path, encoding: str | None, taken: Sequence[str]
) -> tuple[ClassNames | None, list[str]]:
    """Return the names of classes that files of a folder hold, and warnings; `taken` are files that hold something else."""
    files = [file for file in files_with(folder, *_OF_ARRAYS) if is_names_file(file.name) and file.name not in taken]
    named = {file: names_in(file, encoding) for file in files}
    warnings = [
        f"{file.name} is not used: it holds neither a list of names, nor a number for each name"
        for file, names in named.items()
        if not names
    ]
    found = _only(folder, named)
    pickles = [
        file.name for file in files_with(folder, *_PICKLES) if re.search("label|class|encoder", file.name.lower())
    ]
    if pickles and found is None:
        warnings.append(
            f"{pickles[0]} is not read: a pickle can run code; write the names of the classes to classes.txt"
        )
    return found, warnings


def names_beside_table(file: Path, others: Sequence[Path], encoding: str | None) -> ClassNames | None:
    """Return the names in the label file that belongs to a table; `None` without one.

    Its name begins like the table's and not like that of another one of `others`, or it is a general one.
    """
    stems = {other.stem for other in others} | {file.stem}
    own: list[Path] = []
    general: list[Path] = []
    for candidate in files_with(file.parent, *_OF_TABLES):
        if candidate == file or not is_label_file(candidate):
            continue
        owners = [stem for stem in stems if candidate.stem.startswith(stem)]
        if owners and max(owners, key=len) == file.stem:
            own.append(candidate)
        elif not owners and (len(stems) == 1 or candidate.suffix.lower() == ".json"):
            general.append(candidate)
    return _only(file.parent, {candidate: names_in(candidate, encoding) for candidate in own or general})


def _only(folder: Path, named: Mapping[Path, Mapping[str, str]]) -> ClassNames | None:
    """Return the names of the files that hold any; `None` without one. Raises `UserError` for files that differ."""
    found = [
        ClassNames(source=file.name, by_number={int(number): name for number, name in names.items()})
        for file, names in named.items()
        if names
    ]
    for other in found[1:]:
        if other.by_number != found[0].by_number:
            raise UserError(
                f"{folder}: {found[0].source} and {other.source} name different classes; remove the one that is not "
                "of this data"
            )
    return found[0] if found else None


def names_of_array(source: str, values: Sequence[object]) -> ClassNames:
    """Return the names in an array of texts."""
    return ClassNames(source=source, by_number={number: plain_label(value) for number, value in enumerate(values)})


def with_names(raw: RawClips, file: Path, others: Sequence[Path], encoding: str | None, faults: Faults) -> RawClips:
    """Return the clips of a file with the names in the label file beside it, if there is one, for the numbers of classes.

    Numbers that it does not name go to `faults`.
    """
    beside = names_beside_table(file, others, encoding)
    if beside is None:
        return raw
    names = {str(number): beside.by_number[number] for number in sorted(beside.by_number)}
    found = set(raw.labels) - {""}
    if not found <= names.keys() and found <= set(names.values()):
        return replace(raw, class_names=list(names.values()))
    if not any(is_number(label) for label in found):
        return raw  # names that stand in the data itself: the file is that of other data
    first = {label: index for index, label in reversed(list(enumerate(raw.labels)))}
    for label in sorted(found - names.keys(), key=lambda label: first[label]):
        faults.add(
            f"{raw.where(first[label])}: class {cut(label)}, but {beside.source} names {len(names)} classes, "
            f"from {next(iter(names))} to {list(names)[-1]}"
        )
    labels = [names.get(label, label) for label in raw.labels]
    return replace(raw, class_names=list(names.values()), labels=labels)


def names_in(file: Path, encoding: str | None) -> dict[str, str]:
    """Return the names of classes in a label file, number -> name in order; empty if it holds none.

    A text file has a name a line, a CSV too, or a number and a name; JSON is a list, or names and numbers either way round;
    an `.npy` is an array of texts.
    """
    suffix = file.suffix.lower()
    if suffix == ".npy":
        return _names_in_array(file)
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


def _names_in_array(file: Path) -> dict[str, str]:
    try:
        values = load_arrays(file)[""]
    except UserError:
        return {}
    return _counted(values.tolist()) if values.ndim == 1 and values.dtype.kind in "US" else {}


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

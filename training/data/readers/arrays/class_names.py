"""The names of classes in a file beside arrays of numbers: `label_map.json`, `labels.json`, `classes.txt`, `actions.npy`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....common.errors import UserError
from ...text import files_with, plain_label
from ..label_names import names_in
from ..numpy_files import load_arrays

_STEMS = frozenset(
    (
        *("labels", "labelmap", "labelsmap", "labelnames", "labelclasses", "labelencoder", "labelencoderclasses"),
        *("classes", "classnames", "classmap", "classindices", "classlabels", "actions", "gestures", "signs", "words"),
        *("labeltoindex", "labeltoidx", "labeltoid", "indextolabel", "idxtolabel", "idtolabel", "label2id", "id2label"),
    )
)
_SUFFIXES = (".json", ".txt", ".npy")
_PICKLES = (".pkl", ".pickle", ".joblib")


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
    """Return whether a file of this name may hold the names of classes."""
    path = Path(name)
    return path.suffix.lower() in _SUFFIXES and re.sub(r"[\s_-]", "", path.stem).lower() in _STEMS


def names_beside(folder: Path, encoding: str | None, taken: Sequence[str]) -> tuple[ClassNames | None, list[str]]:
    """Return the names of classes that files of a folder hold, and warnings; `taken` are files that hold something else.

    Raises `UserError` if two files name different classes.
    """
    found: list[ClassNames] = []
    warnings = []
    for file in files_with(folder, *_SUFFIXES):
        if not is_names_file(file.name) or file.name in taken:
            continue
        names = _names_of_array_file(file) if file.suffix.lower() == ".npy" else names_in(file, encoding)
        if names:
            found.append(ClassNames(source=file.name, by_number={int(number): name for number, name in names.items()}))
        else:
            warnings.append(f"{file.name} is not used: it holds neither a list of names, nor a number for each name")
    for other in found[1:]:
        if other.by_number != found[0].by_number:
            raise UserError(
                f"{folder}: {found[0].source} and {other.source} name different classes; remove the one that is not "
                "of this data"
            )
    pickles = [
        file.name for file in files_with(folder, *_PICKLES) if re.search("label|class|encoder", file.name.lower())
    ]
    if pickles and not found:
        warnings.append(
            f"{pickles[0]} is not read: a pickle can run code; write the names of the classes to classes.txt"
        )
    return (found[0] if found else None), warnings


def names_of_array(source: str, values: Sequence[object]) -> ClassNames:
    """Return the names in an array of texts."""
    return ClassNames(source=source, by_number={number: plain_label(value) for number, value in enumerate(values)})


def _names_of_array_file(file: Path) -> dict[int, str]:
    """Return the names in an `.npy`; none if it holds anything but a list of texts."""
    try:
        values = load_arrays(file)[""]
    except UserError:
        return {}
    return (
        dict(names_of_array(file.name, values.tolist()).by_number)
        if values.ndim == 1 and values.dtype.kind in "US"
        else {}
    )

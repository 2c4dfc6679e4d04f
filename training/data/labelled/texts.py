"""Texts with or without a label: the rows of a table, or files in class folders."""

from __future__ import annotations

from pathlib import Path

from ...common.errors import UserError, nearest
from ...common.program.doors import door
from ...common.small_files import expanded, what_is_at
from ..readers.raw import Faults
from ..readers.tables.columns import column_named, list_of, split_names
from ..readers.tables.csv_rows import Table, by_split
from ..readers.tables.manifest import read_any_table
from ..readers.walk import files_by_folder
from ..text import LABEL_COLUMNS, SPLIT_COLUMNS, TEXT_COLUMNS, check_encoding, files_with, find_column, nfc, read_text
from .folders import files_in_class_folders
from .labelled import Samples

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
_MORE_LABELS = (
    "sentiment",
    "intent",
    "emotion",
    "topic",
    "polarity",
    "stars",
    "rating",
    "language",
    "lang",
    "type",
    "v1",
)


@door("data", "mend it, write it again, or remove it")
def find_texts(
    data: str,
    *,
    text: str | None = None,
    label: str | None = None,
    encoding: str | None = None,
    with_labels: bool = True,
) -> Samples[str]:
    """Return the texts of a table (CSV, TSV, JSON lines, Parquet) or of `<class>/*.txt`, in Unicode's form NFC.

    A folder may hold tables, one for each split. `text` and `label` name columns; None: one with a usual name. Without labels a
    text file is a text, and labels and texts without one are empty. Raises `UserError` with all rows that lack something.
    """
    try:
        if encoding is not None:
            check_encoding(encoding)
        return _find_texts(expanded(data), text, label, encoding, with_labels)
    except UserError as error:
        raise UserError(str(error).replace("--encoding ", "encoding="), option=error.option) from None


def _find_texts(
    path: Path, text: str | None, label: str | None, encoding: str | None, with_labels: bool
) -> Samples[str]:
    if (what := what_is_at(path)) or not path.exists():
        raise UserError(f"{path}: {what or 'no such file or folder'}")
    if path.is_file() and path.suffix.lower() not in TABLES:
        if with_labels:
            raise UserError(
                f"{path}: no table, so its text has no labels; name a {', '.join(TABLES)} with columns text and label, a "
                "folder <class>/*.txt, or learn the language with objective=language-model"
            )
        return Samples(source=str(path), word="text", items=[read_text(path, encoding)], labels=[""], own=[""])
    tables = [path] if path.is_file() else files_with(path, *TABLES)
    if not tables:
        return _of_files(path, encoding, with_labels)
    faults, found = Faults(path), []
    for split, file in by_split(tables, path, "table").items():
        found.append(_of_table(file, split, text, label, encoding, with_labels, faults))
    faults.check()
    parts = {
        name: [one for part in found for one in getattr(part, name)] for name in ("items", "labels", "own", "notes")
    }
    notes = tuple(dict.fromkeys(parts.pop("notes")))
    return Samples(source=str(path), word="text", notes=notes, **parts)


def _of_table(
    file: Path,
    split: str,
    text: str | None,
    label: str | None,
    encoding: str | None,
    with_labels: bool,
    faults: Faults,
) -> Samples[str]:
    table = read_any_table(file, encoding)
    text_at, label_at = _column(table, "text", text), _column(table, "label", label) if with_labels else -1
    if with_labels and len(table.header) == 2 and (text_at < 0) != (label_at < 0):
        known = max(text_at, label_at)  # of two columns the other one is the other thing
        text_at, label_at = (known, 1 - known) if label_at < 0 else (1 - known, known)
    hint = f"it has {list_of(table.header)}; if these are no names, write a line of names above the first row"
    for option, at in (("text", text_at), ("label", label_at if with_labels else 0)):
        if at < 0:
            raise UserError(f"{file}: no column that is known as the {option}; name it with {option}=COLUMN: {hint}")
    if text_at == label_at:
        raise UserError(f"{file}: the column {table.header[text_at]!r} cannot be both text and label; {hint}")
    own_at = find_column(table.header, SPLIT_COLUMNS)
    texts = [nfc(row[text_at]).strip() for row in table.cells]
    labels = table.cells_of(label_at) if with_labels else [""] * len(texts)
    own = [split] * len(texts) if own_at is None else split_names(table.cells_of(own_at), table.where, faults)
    for row, (one, name) in enumerate(zip(texts, labels, strict=True)):
        if not one:
            faults.add(f"{table.where(row)}: no text in the column {table.header[text_at]!r}; remove the row")
        elif with_labels and not name:
            faults.add(
                f"{table.where(row)}: no label in the column {table.header[label_at]!r}; add it, or remove the row"
            )
    if with_labels and len(set(labels)) > max(2, len(labels) / 2):
        raise UserError(
            f"{file}: {len(set(labels)):,} different labels in {len(labels):,} rows, so the column "
            f"{table.header[label_at]!r} says no classes; name another one with label=COLUMN: {hint}"
        )
    columns = f"the texts are the column {table.header[text_at]!r}" + (
        f", the labels {table.header[label_at]!r}" if with_labels else ""
    )
    return Samples(source=str(file), word="text", items=texts, labels=labels, own=own, notes=(columns,))


def _column(table: Table, option: str, wanted: str | None) -> int:
    """Return the index of the column that an option names, or of the first with a usual name, or -1."""
    if wanted is None:
        at = find_column(table.header, TEXT_COLUMNS if option == "text" else (*LABEL_COLUMNS, *_MORE_LABELS))
        return -1 if at is None else at
    if (at := column_named(table.header, wanted)) < 0:
        raise UserError(
            f"{table.path}: {option}={wanted}: no such column{nearest(wanted, table.header)}; {list_of(table.header)}",
            option=option,
        )
    return at


def _of_files(folder: Path, encoding: str | None, with_labels: bool) -> Samples[str]:
    if not with_labels:
        files = [folder / below / name for below, names in files_by_folder(folder, ".txt").items() for name in names]
        if not files:
            raise UserError(f"{folder}: no text in it; name a .txt, a folder of them, or a table: {', '.join(TABLES)}")
        found = Samples(source=str(folder), word="text", items=files, labels=[""] * len(files), own=[""] * len(files))
    else:
        found = files_in_class_folders(folder, (".txt",), "text")
    faults, texts = Faults(folder), []
    for file in found.items:
        try:
            texts.append(nfc(read_text(file, encoding)).strip())
        except UserError as error:
            faults.add(str(error))
            continue
        if not texts[-1]:
            faults.add(f"{file}: holds no text; remove it")
    faults.check()
    return Samples(source=str(folder), word="text", items=texts, labels=found.labels, own=found.own, notes=found.notes)

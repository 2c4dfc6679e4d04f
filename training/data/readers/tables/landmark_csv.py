"""Reads a text table with one vector of landmarks in a row: `coords.csv`, `keypoint.csv`, and tables like them.

Its forms come from github.com/nicknochnack/Body-Language-Decoder (class, x1, y1, z1, v1, ...) and
github.com/kinivi/hand-gesture-recognition-mediapipe (a class number and the numbers, without a header).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from ....common.errors import UserError
from ...layouts.mediapipe import points
from ...specs import Reading
from ...text import LABEL_COLUMNS, files_with, find_column, only_file, split_of_file
from ..label_names import is_label_file, with_names
from ..raw import Faults, RawClips
from ..refusals import lines, texts_in
from ..table_conversions import as_list, class_elsewhere, of_lists, refuse_long_form, with_thousands
from . import frame_table, manifest, spoter
from .columns import (
    INDEX_COLUMNS,
    Columns,
    columns_of,
    label_columns,
    list_of,
    one_label_column,
    refuse_double_names,
    split_names,
)
from .csv_rows import by_split, first_rows, is_number
from .number_table import Form, read_numbers
from .rows_of_clips import clips_of_rows

NAME = "landmark_csv"
LOOKS_FOR = "a CSV of one landmark vector per row"
USES: tuple[str, ...] = ("label", "signer")

_SUFFIXES = (".csv", ".tsv")
_HISTORY, _HISTORY_NUMBERS = "point_history", 32
_LEAST_NUMBERS = 4


_WORD = r"(?:frame|frm|fr|f|time|timestep|step|t)"
_OF_FRAME = (
    re.compile(rf"{_WORD}[_\- ]?(?P<frame>\d+)[_\-. ](?P<name>.+)", re.IGNORECASE),
    re.compile(rf"(?P<name>.+)[_\-. ]{_WORD}[_\- ]?(?P<frame>\d+)", re.IGNORECASE),
)
_FEWEST_OF_FRAME = 8
"""Numbers of a frame, so that the joints f1, f2, ... of fingers are no frames."""
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:(?P<mark>[.,])\d{3})(?:(?:(?P=mark)\d{3})+|(?!(?P=mark))[.,]\d+)")


def detect(path: Path) -> bool:
    """Return whether `path` is a table of landmark vectors, or a folder with one."""
    if path.is_dir():
        return bool(_data_files(path))
    return path.suffix.lower() in _SUFFIXES and not is_label_file(path) and not _is_other_table(first_rows(path, 2))


def read(path: Path, reading: Reading) -> RawClips:
    """Return the rows of a file, of the only such file in a folder, or of a folder's files named train and test.

    A header may name the class, the signer, the split, recordings and other columns of text; without a header the class is
    the only column of text, else the first or the last one, whichever is certain. Rows that a header calls frames of a
    clip are one clip. The names of class numbers come from a label file beside the data.
    """
    files = _split_files(path) if path.is_dir() else {"": path}
    parts = [_read_file(file, split, reading) for split, file in files.items()]
    return parts[0] if len(parts) == 1 else _joined(parts, path)


def _read_file(file: Path, file_split: str, reading: Reading) -> RawClips:
    form = Form.of(file, reading.encoding)
    if mark := next(
        (match["mark"] for row in form.rows for cell in row if (match := _THOUSANDS.fullmatch(cell))), None
    ):
        raise with_thousands(file, mark)
    has_header = _has_header(form, reading)
    header = form.rows[0] if has_header else [str(index) for index in range(len(form.rows[0]))]
    samples = form.rows[1:] if has_header else form.rows
    if not samples:
        raise UserError(f"{file}: no rows below a header")
    if has_header and reading.landmarks == "auto" and (advice := texts_in(header, samples)) is not None:
        raise UserError(f"{file}: {advice}")
    columns = columns_of(header, reading, file)
    refuse_long_form(header, columns, file)
    texts = [index for index in range(len(header)) if index not in columns.named and _is_text(form, samples, index)]
    notes: list[str] = []
    labels = _label_columns(form, header, columns, texts, samples, reading, has_header=has_header, notes=notes)
    blank = [index for index in range(len(header)) if all(index < len(row) and not row[index] for row in samples)]
    not_numbers = {*columns.named, *texts, *labels, *(index for index in blank if not has_header)}
    numbers = [index for index in range(len(header)) if index not in not_numbers]
    if not numbers:
        raise UserError(
            f"{file}: no column of numbers beside the class; {list_of(header)}{of_lists(file, header, samples)}"
        )
    if has_header:
        refuse_double_names(header, numbers, file)
    text_columns = sorted({*labels, *texts, *columns.named} - set(columns.left_out))
    table = read_numbers(form, has_header=has_header, texts=text_columns, numbers=numbers)
    if not len(table.numbers):
        raise UserError(f"{file}: no rows below a header")
    label = one_label_column(file, labels, header, table.texts, notes)
    groups = {**columns.groups, **{header[index]: index for index in texts if index not in labels}}
    columns = replace(columns, label=label, groups=groups)
    if has_header:
        notes += _left_out(header, columns)
    raw = clips_of_rows(table, columns, header, numbers, reading, name=file.stem, source_format=NAME)
    faults = Faults(file)
    raw = with_names(raw, file, _data_files(file.parent), reading.encoding, faults)
    splits = [file_split] * len(raw.labels) if file_split else split_names(raw.splits or (), raw.where, faults)
    faults.check()
    raw = replace(raw, splits=splits, notes=(*notes, *raw.notes), files=(file.name,))
    return _as_track(_as_sequences(raw), file, reading)


def _has_header(form: Form, reading: Reading) -> bool:
    """Return whether the first row names columns: one is the class, or no cell is a number, or they count 0, 1, 2, ..."""
    first = form.rows[0]
    numbers = [cell for cell in first if form.is_number(cell) and cell]
    if reading.label in first or reading.signer in first or reading.group in first:
        return True
    counting = [int(cell) for cell in numbers if cell.isdecimal()]
    if len(counting) < len(numbers):
        return False
    counts = len(counting) >= _LEAST_NUMBERS and counting == list(range(counting[0], counting[0] + len(counting)))
    is_text_too = len(numbers) < len(first)
    return not numbers or find_column(first, LABEL_COLUMNS) is not None or (counts and is_text_too)


def _is_text(form: Form, samples: list[list[str]], index: int) -> bool:
    """Return whether most cells of a column are no numbers: a lone one is a fault."""
    cells = [row[index] for row in samples if index < len(row) and row[index]]
    return 2 * sum(not form.is_number(cell) for cell in cells) > len(cells)


def _label_columns(
    form: Form,
    header: list[str],
    columns: Columns,
    texts: list[int],
    samples: list[list[str]],
    reading: Reading,
    *,
    has_header: bool,
    notes: list[str],
) -> list[int]:
    """Return the columns that may be the class; several if their names say so. Raises `UserError` where it is not certain."""
    if columns.label >= 0:
        return label_columns(header, columns, reading)
    if len(texts) == 1:
        if has_header:
            notes.append(f"the class is the column {header[texts[0]]!r}, the only one of text")
        return texts
    if not has_header and not texts:
        index = _class_by_values(form, samples)
        if index is not None:
            if index:
                notes.append("the class is the last column")
            return [index]
    if hot := _one_hot(form, header, samples) if has_header else []:
        shown = ", ".join(map(repr, hot))
        program = (
            f"import pandas as pd; d = pd.read_csv({{file}}); c = {as_list(hot)}; "
            'd["label"] = d[c].idxmax(axis=1); d.drop(columns=c).to_csv({out}, index=False)'
        )
        out = form.path.with_name(f"{form.path.stem}_labelled.csv")
        raise UserError(
            f"{form.path}: the class is one-hot in the columns {shown}; write it into one column label:"
            f"{lines(program, form.path, out)}",
            option="label",
        )
    is_time = has_header and columns.frame == 0
    reason = f"; the first, {header[0]!r}, numbers the rows or their times" if is_time else ""
    ask = "no column is named as the class" if has_header else "it is not certain which column is the class"
    if has_header and (elsewhere := class_elsewhere(form.path, header)):
        raise UserError(f"{form.path}: no column is named as the class, {elsewhere}", option="label")
    count = "" if has_header else " (columns count from 0, -1 is the last)"
    raise UserError(f"{form.path}: {ask}{reason}; add --label COLUMN{count}; {list_of(header)}", option="label")


def _one_hot(form: Form, header: list[str], samples: list[list[str]]) -> list[str]:
    """Return the last columns of which one is 1 in each row and the others 0, and which hold no coordinates by their names."""
    first = len(header)
    while first and all(form.is_number(row[first - 1]) and float(row[first - 1] or 2) in (0, 1) for row in samples):
        first -= 1
    hot = [[float(cell) for cell in row[first:]] for row in samples]
    return header[first:] if len(header) - first > 1 and all(sum(row) == 1 for row in hot) else []


def _class_by_values(form: Form, samples: list[list[str]]) -> int | None:
    """Return the first or the last column of a table without a header, whichever alone may hold classes; else `None`.

    Classes are whole numbers. Where both are (pixels are whole, visibilities are 0), they count from 0 or 1 without a gap,
    and are not the same in all rows.
    """
    last = len(samples[0]) - 1
    whole = [
        index
        for index in (0, last)
        if all(
            row[index] and form.is_number(row[index]) and form.number_of(row[index]).is_integer()
            for row in samples
            if len(row) == last + 1
        )
    ]
    if len(whole) > 1:
        table = read_numbers(form, has_header=False, texts=[], numbers=whole)
        found = {index: set(table.numbers[:, place].tolist()) for place, index in enumerate(whole)}
        whole = [index for index in whole if len(found[index]) > 1] or [0]
        if len(whole) > 1:
            whole = [
                index for index in whole if found[index] in (_counting(found[index], 0), _counting(found[index], 1))
            ]
    return whole[0] if len(whole) == 1 else None


def _counting(found: set[float], start: int) -> set[float]:
    return set(map(float, range(start, start + len(found))))


def _left_out(header: list[str], columns: Columns) -> list[str]:
    named = {index for index in columns.left_out if find_column([header[index]], INDEX_COLUMNS) is None}
    return [f"left out: {_quoted(header, named)}, no landmarks by the name"] if named else []


def _quoted(header: list[str], indices: set[int]) -> str:
    return ", ".join(repr(header[index]) for index in sorted(indices))


def _as_sequences(raw: RawClips) -> RawClips:
    """Return rows whose columns name their frames, `frame3_x0` or `x0_t3`, as clips of these frames."""
    names = raw.number_names or ()
    matches = [match for match in (one.fullmatch(name) for name in names for one in _OF_FRAME) if match]
    of_frames: dict[int, dict[str, int]] = {}
    for place, match in enumerate(matches):
        of_frames.setdefault(int(match["frame"]), {})[match["name"]] = place
    orders = {tuple(places) for places in of_frames.values()}
    is_certain = len(matches) == len(names) and len(of_frames) > 1 and len(orders) == 1
    if not is_certain or len(raw.values) != len(raw.labels) or len(order := orders.pop()) < _FEWEST_OF_FRAME:
        return raw
    columns = [place for frame in sorted(of_frames) for place in of_frames[frame].values()]
    return replace(
        raw,
        values=raw.values[:, columns].reshape(-1, len(order)),
        offsets=np.arange(len(raw.labels) + 1, dtype=np.int64) * len(of_frames),
        number_names=list(order),
        notes=(*raw.notes, f"a row is a clip of {len(of_frames)} frames, as the names of its columns say ({names[0]})"),
    )


def _as_track(raw: RawClips, file: Path, reading: Reading) -> RawClips:
    """Return the rows of `point_history.csv` as tracks of one point, as the program writes them that makes such files."""
    count = raw.values.shape[1]
    says_so = reading.landmarks == "points" and reading.coords == "xy"
    is_history = _HISTORY in file.stem.lower() and reading.landmarks in ("auto", "points")
    if raw.values.ndim != 2 or count != _HISTORY_NUMBERS or len(raw.values) != len(raw.labels):
        return raw
    if not (says_so or is_history):
        return raw
    return replace(
        raw,
        values=raw.values.reshape(-1, 1, 2),
        offsets=np.arange(len(raw.labels) + 1, dtype=np.int64) * (count // 2),
        layout=points(1, 2),
        number_names=None,
        notes=(*raw.notes, f"a row is the track of one point over {count // 2} frames"),
    )


def _split_files(folder: Path) -> dict[str, Path]:
    """Return split -> file: the files named after different splits and of equal width, else the only file."""
    files = _data_files(folder)
    widths = {len(row) for file in files for row in first_rows(file, 1)}
    if len(widths) > 1:
        return {"": only_file(files, folder, "CSV of landmark vectors")}
    if len(files) > 1 and not any(map(split_of_file, files)) and not any(map(_says_class, files)):
        header = "" if all(not is_number(cell) for cell in first_rows(files[0], 1)[0]) else ", header=None"
        program = (
            "import pandas as pd; from pathlib import Path; "
            f'pd.concat([pd.read_csv(f{header}).assign(label=f.stem) for f in sorted(Path({{file}}).glob("*.csv"))])'
            ".to_csv({out}, index=False)"
        )
        raise UserError(
            f"{folder}: {len(files)} tables without a column of the class; if each is of the class that its name says, join "
            f"them:{lines(program, folder, folder.with_name(f'{folder.name}_joined.csv'))}"
        )
    return by_split(files, folder, "CSV of landmark vectors")


def _says_class(file: Path) -> bool:
    """Return whether a table has a column with a usual name of the class, or one that may be it without a name."""
    header, *rows = first_rows(file, 2)
    if find_column(header, LABEL_COLUMNS) is not None or not rows:
        return True
    return any(not is_number(cell) for cell in rows[0]) or any(cell.isdecimal() for cell in (rows[0][0], rows[0][-1]))


def _joined(parts: list[RawClips], folder: Path) -> RawClips:
    """Return the clips of several files end to end."""
    widths = {part.values.shape[1:] for part in parts}
    orders = {tuple(part.class_names) for part in parts if part.class_names is not None}
    if len(widths) > 1 or len(orders) > 1:
        raise UserError(f"{folder}: {' and '.join(part.files[0] for part in parts)} have different columns or classes")
    counts = np.cumsum([0, *(len(part.labels) for part in parts)])
    ends = np.cumsum([0, *(len(part.values) for part in parts)])

    def where(index: int) -> str:
        part = int(np.searchsorted(counts, index, side="right")) - 1
        return parts[part].where(index - int(counts[part]))

    kinds = dict.fromkeys(kind for part in parts for kind in part.groups)
    return replace(
        parts[0],
        name=folder.resolve().name,
        values=np.concatenate([part.values for part in parts]),
        offsets=np.concatenate([[0], *(part.offsets[1:] + end for part, end in zip(parts, ends, strict=False))]),
        labels=[label for part in parts for label in part.labels],
        class_names=next(iter(orders), None),
        groups={
            kind: [text for part in parts for text in part.groups.get(kind, [""] * len(part.labels))] for kind in kinds
        },
        splits=[split for part in parts for split in part.splits or ()],
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        warnings=tuple(dict.fromkeys(warning for part in parts for warning in part.warnings)),
        files=tuple(name for part in parts for name in part.files),
        where=where,
    )


def _data_files(folder: Path) -> list[Path]:
    return [file for file in files_with(folder, *_SUFFIXES) if not is_label_file(file) and _holds_vectors(file)]


def _holds_vectors(file: Path) -> bool:
    """Return whether the second row has at least four numbers, which are most of its cells, and it is no other table."""
    rows = first_rows(file, 2)
    if not rows or _is_other_table(rows):
        return False
    numbers = sum(is_number(cell.replace(",", ".")) or bool(_THOUSANDS.fullmatch(cell)) for cell in rows[-1])
    return numbers >= _LEAST_NUMBERS and 2 * numbers > len(rows[-1])


def _is_other_table(rows: list[list[str]]) -> bool:
    return bool(rows) and (frame_table.is_table(rows[0]) or spoter.is_spoter(rows) or manifest.is_manifest(rows))

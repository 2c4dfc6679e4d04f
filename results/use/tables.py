"""Writes predictions as CSV, Parquet or JSON, or as a short table on the screen."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from ...training.common.errors import UserError
from ...training.common.program.shown import printable
from ...training.common.small_files import expanded
from ...training.storage.files import describe_os_error, replaced, write_durably
from .inputs.samples import Samples, predictions_of

ENDINGS = (".csv", ".parquet", ".json")


def check_out(out: str | None, *, force: bool) -> Path | None:
    """Return the file to write; None: the screen. Raises `UserError`, before any work, for one that cannot be."""
    if out is None:
        return None
    path = expanded(out)
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"--out {out}: its ending says how it is written; give {', '.join(ENDINGS)}")
    if path.is_dir():
        raise UserError(f"--out {out}: is a folder; name a file in it")
    if path.exists() and not force:
        raise UserError(f"--out {out}: is there already; give --force to replace it")
    return path


def columns_of(
    samples: Samples, class_names: Sequence[str], probabilities: np.ndarray, top: int
) -> dict[str, list[Any]]:
    """Return the columns of a table: the sample, its label if it has one, the most probable classes, and each probability."""
    found = predictions_of(class_names, probabilities)
    columns: dict[str, list[Any]] = {"sample": list(samples.names)}
    if samples.labels is not None:
        columns["label"] = list(samples.labels)
    for place in range(min(top, len(class_names))):
        end = "" if place == 0 else f"_{place + 1}"
        best = [one.top(place + 1)[place] for one in found]
        columns[f"prediction{end}"] = [name for name, _ in best]
        columns[f"probability{end}"] = [probability for _, probability in best]
    for index, name in enumerate(class_names):
        columns[f"p({name})"] = probabilities[:, index].tolist()
    return columns


def write_table(path: Path, columns: dict[str, list[Any]]) -> None:
    """Write columns of equal length; a reader finds the whole file or none. Raises `UserError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as partial:
            if path.suffix.lower() == ".parquet":
                import pyarrow as pa
                import pyarrow.parquet as pq

                pq.write_table(pa.table(columns), partial)
            else:
                lines = _as_json(columns) if path.suffix.lower() == ".json" else _as_csv(columns)
                write_durably(partial, (line.encode("utf-8", "surrogateescape") for line in lines))
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written: {describe_os_error(error)}") from None


def _rows(columns: dict[str, list[Any]]) -> Iterator[tuple[Any, ...]]:
    return zip(*columns.values(), strict=True)


def _as_csv(columns: dict[str, list[Any]]) -> Iterator[str]:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in (tuple(columns), *_rows(columns)):
        writer.writerow([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row])
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def _as_json(columns: dict[str, list[Any]]) -> Iterator[str]:
    """Yield a JSON list with an object for each sample, a line each."""
    count = len(next(iter(columns.values())))
    yield "[\n"
    for number, row in enumerate(_rows(columns), start=1):
        plain = {name: cell for name, cell in zip(columns, row, strict=True) if not name.startswith("p(")}
        plain["probabilities"] = {
            name[2:-1]: round(cell, 6) for name, cell in zip(columns, row, strict=True) if name.startswith("p(")
        }
        yield json.dumps(plain) + (",\n" if number < count else "\n")
    yield "]\n"


def print_table(columns: dict[str, list[Any]]) -> None:
    """Print the columns as CSV on stdout, without the probability of each class."""
    shown = {name: cells for name, cells in columns.items() if not name.startswith("p(")}
    for line in _as_csv(shown):
        sys.stdout.write(printable(line))

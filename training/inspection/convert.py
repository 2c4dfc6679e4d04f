"""`slipway data convert`: write what is understood of data as Parquet that trains the same."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
from pathlib import Path
from shlex import quote
from typing import Any

from ..common.errors import UserError
from ..common.small_files import expanded, make_folders
from ..data.landmarks import LandmarkData
from ..data.understanding.summary import summarise
from ..data.understanding.understand import read_landmarks
from ..observers.screen.console import make_console
from ..storage.files import describe_os_error, replaced
from .options import read_data_options
from .texts import count

_ENDING = ".parquet"
_FILE_IN_FOLDER = "clips.parquet"


def run(options: argparse.Namespace) -> int:
    """Convert a data set and say what was written; return 0. Raises `UserError`."""
    spec, _, _ = read_data_options(options.path, options)
    out = _out_path(options.path, options.out, force=options.force)
    data = read_landmarks(spec.source, spec.reading)
    write_parquet(out, data.to_table())
    console = make_console(stderr=False)
    console.print(str(summarise(data)))
    for word, sentences in (("note", data.notes), ("warning", data.warnings)):
        for sentence in sentences:
            console.print(f"{word}: {sentence}")
    if copies := _count_copies(data):
        console.print(f"note: {count(copies, 'exact copy', 'exact copies')} kept: training decides about them")
    console.print(f"written: {out}, {out.stat().st_size / 1e6:,.1f} MB", soft_wrap=True)
    console.print(f"train on it: slipway train --data {quote(str(out))}", soft_wrap=True)
    return 0


def write_parquet(path: Path, table: Any) -> None:
    """Write a table of pyarrow and the folders it needs; a reader finds the whole file or none. Raises `UserError`."""
    import pyarrow.parquet as pq

    try:
        make_folders(path.parent)
        # pyarrow does not open a name that is not UTF-8.
        with replaced(path) as partial, open(partial, "wb") as file:
            pq.write_table(table, file, compression="zstd")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {describe_os_error(error)}") from None


def _out_path(source: str, out: str, *, force: bool) -> Path:
    """Return the file to write. Raises `UserError`, before any work, for a place that would harm what is there."""
    path, read = expanded(out), expanded(source)
    is_file = path.suffix.lower() == _ENDING
    if is_file and path.is_dir():
        raise UserError(f"{out}: is a folder; name a file in it, such as {path / _FILE_IN_FOLDER}")
    if not is_file and path.exists() and not path.is_dir():
        raise UserError(f"{out}: is a file without the ending {_ENDING}; name another file, or a folder")
    file = path if is_file else path / _FILE_IN_FOLDER
    written, source_place = (Path(os.path.realpath(one)) for one in (file, read))
    if read.is_dir() and written.is_relative_to(source_place):
        raise UserError(f"{out}: lies in {source}, whose data it would change; name a place outside")
    if read.exists() and written == source_place:
        raise UserError(f"{out}: is what is read; name another file")
    if file.exists() and not force:
        raise UserError(f"{file}: is there already; give --force to replace it")
    others = [] if is_file or not path.is_dir() else [entry.name for entry in path.iterdir() if entry != file]
    if others:
        raise UserError(
            f"{out}: holds other files, such as {min(others)}; name a new folder, or a file {_FILE_IN_FOLDER}"
        )
    return file


def _count_copies(data: LandmarkData) -> int:
    """Return the number of clips with the numbers and the label of an earlier one."""
    different = {
        (label, hashlib.blake2b(data.values[start:stop].tobytes(), digest_size=16).digest())
        for label, (start, stop) in zip(data.labels.tolist(), itertools.pairwise(data.offsets.tolist()), strict=True)
    }
    return len(data) - len(different)

"""The files of a run, found by its name and read as plain values, of a run that still trains too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...training.common.errors import UserError, nearest
from ...training.common.run_names import RECORD
from ...training.common.small_files import UnreadableError, read_json
from ...training.observers.journal import read_journal

JOURNAL = "events.jsonl"


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """What a run has written."""

    folder: Path
    record: Mapping[str, Any]
    """Its `run.json`; of a study that of the study."""
    events: Sequence[Mapping[str, Any]]
    """Its journal, in the order of the lines; empty before the first one and for a study."""


def find_run(run: str, runs_dir: Path, command: str) -> Path:
    """Return the folder of a run, given by its path or its name in `runs_dir`.

    `command` begins the message, such as `slipway report`. Raises `UserError` where there is none.
    """
    places = (Path(run), runs_dir / run)
    for path in places:
        if (path / RECORD).is_file():
            return path
    known = [path.parent.name for path in runs_dir.glob(f"*/{RECORD}")]
    found = next((path for path in places if path.is_dir()), None)
    if found is not None:
        parts = sorted(path.parent.name for path in found.glob(f"*/{RECORD}"))
        if parts:
            raise UserError(f"{command} {run}: {found} holds several runs; name one, such as {found / parts[0]}")
        raise UserError(f"{command} {run}: no run there (no {RECORD} in {found}); `slipway runs` lists the runs")
    listing = "`slipway runs` lists them" if known else "`slipway train` makes one, --runs-dir names another folder"
    raise UserError(f"{command} {run}: no such run, here or in {runs_dir}{nearest(run, known)}; {listing}")


def record_of(folder: Path) -> Mapping[str, Any]:
    """Return the record of the run in `folder` as it is now. Raises `UserError` for a file that is not that of a run."""
    path = folder / RECORD
    try:
        record = read_json(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the folder of a run") from None
    except UnreadableError as error:
        raise UserError(f"{path}: {error}; give the folder of another run") from None
    if not isinstance(record, dict) or not isinstance(record.get("name"), str):
        raise UserError(f"{path}: not the record of a run; give the folder of another run")
    return record


def read_run(folder: Path) -> RunFiles:
    """Return what the run in `folder` has written until now. Raises `UserError` for files that are not those of a run."""
    record = record_of(folder)
    has_journal = (folder / JOURNAL).is_file()
    return RunFiles(folder=folder, record=record, events=read_journal(folder / JOURNAL) if has_journal else [])

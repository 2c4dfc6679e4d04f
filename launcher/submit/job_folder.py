"""The folder of a job: what was handed in, its log, the folders of its launches; and the record by which it is found."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ...training.common.errors import UserError, nearest
from ...training.common.json_records import from_json, to_json
from ...training.common.small_files import UnreadableError, make_folders, read_small_text

RECORD = "job.json"
LAUNCHES = "launches"
_SCHEMA_VERSION = 1
_OTHERS = re.compile(r"[^A-Za-z0-9._-]+")

Kind = Literal["slurm", "kubernetes"]


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """A job that was handed in. `log` is its log with `%j` for what SLURM puts there; none of a job of Kubernetes."""

    schema_version: int = _SCHEMA_VERSION
    kind: Kind
    job_id: str
    name: str
    submitted_at: str  # UTC
    cluster: str = ""  # of SLURM; of Kubernetes the context
    namespace: str = ""
    resource: str = ""  # of Kubernetes: trainjob or job


def folder_for(jobs_dir: Path, name: str) -> Path:
    """Return the absolute path of the folder of a new job: `20260131T235959Z-name`."""
    short = _OTHERS.sub("_", name)[:60].strip("._-") or "job"
    path = jobs_dir.absolute() / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{short}"
    number, first = 1, path
    while path.exists():
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    return path


def create(folder: Path, file_name: str, text: str) -> Path:
    """Create the folder of a job with what is handed in, which only this user reads; return its path. Raises `UserError`."""
    path = folder / file_name
    try:
        make_folders(folder.parent)
        folder.mkdir()
        (folder / LAUNCHES).mkdir()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # arguments may be secret
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"--jobs-dir {folder.parent}: {error.strerror}; choose a folder that can be written") from None
    return path


def write_record(folder: Path, record: JobRecord) -> None:
    """Write the record of a job. Raises `UserError`."""
    try:
        (folder / RECORD).write_text(to_json(record) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder / RECORD}: {error.strerror}; job {record.job_id} is handed in all the same") from None


def now() -> str:
    """Return the time in UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"


def jobs_in(jobs_dir: Path) -> dict[Path, JobRecord]:
    """Return the jobs in a folder, the oldest first; what is no record is left out."""
    found = {}
    for path in sorted(jobs_dir.glob(f"*/{RECORD}")):
        with contextlib.suppress(OSError, UnreadableError, UserError):
            found[path.parent] = from_json(JobRecord, _SCHEMA_VERSION, read_small_text(path), str(path), remake="")
    return found


def find_job(jobs_dir: Path, wanted: str) -> tuple[Path, JobRecord]:
    """Return the newest job of an id, a name or a folder. Raises `UserError` where there is none."""
    jobs = jobs_in(jobs_dir)
    for folder, record in reversed(jobs.items()):
        if wanted in (record.job_id, record.name, folder.name) or Path(wanted).absolute() == folder.absolute():
            return folder, record
    known = [word for record in jobs.values() for word in (record.job_id, record.name)]
    raise UserError(
        f"{wanted}: no job of this id or name in {jobs_dir}{nearest(wanted, known)}; `slipway submit status` lists them"
    )

"""`slipway submit status`, `cancel` and `logs`: what became of jobs that were handed in from this folder."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from ...training.common.errors import UserError
from ...training.common.program.shown import one_line, without_commands
from ...training.common.program.streams import print_to_stderr
from ...training.common.settings import format_path
from .job_folder import LAUNCHES, JobRecord, find_job, jobs_in


def status(options: argparse.Namespace) -> int:
    """Print a line for each job: number, state, name, when, folder; return 0. Raises `UserError`."""
    jobs_dir = Path(options.jobs_dir)
    jobs = jobs_in(jobs_dir) if options.job is None else dict([find_job(jobs_dir, options.job)])
    if not jobs:
        print_to_stderr(f"no job in {jobs_dir}: `slipway submit slurm` and `submit kubernetes` hand one in")
    for folder, record in jobs.items():
        state = _state_of(record) or f"not known to {record.kind} any more; its log tells how it ended"
        words = (record.job_id, one_line(record.name), state, f"handed in {record.submitted_at}", format_path(folder))
        print("  ".join(words))
    return 0


def _state_of(record: JobRecord) -> str | None:
    if record.kind == "kubernetes":
        from .kubernetes import cluster

        return cluster.state_of(record.resource, record.name, record.namespace)
    from .slurm import installed

    return installed.state_of(record.job_id, record.cluster)


def cancel(options: argparse.Namespace) -> int:
    """Cancel a job; return 0. Raises `UserError`."""
    _, record = find_job(Path(options.jobs_dir), options.job)
    if record.kind == "kubernetes":
        from .kubernetes import cluster

        cluster.cancel(record.resource, record.name, record.namespace)
    else:
        from .slurm import installed

        installed.cancel(record.job_id, record.cluster)
    print_to_stderr(
        f"job {record.job_id} is cancelled; `slipway runs` shows its run, `slipway resume RUN` goes on with it"
    )
    return 0


def logs(options: argparse.Namespace) -> int:
    """Print the log of a job or of a rank; return 0. Raises `UserError`."""
    jobs_dir = Path(options.jobs_dir)
    if options.job is None and not jobs_in(jobs_dir):
        raise UserError(f"no job in {jobs_dir}: `slipway submit slurm` and `submit kubernetes` hand one in")
    folder, record = find_job(jobs_dir, options.job) if options.job is not None else [*jobs_in(jobs_dir).items()][-1]
    if record.kind == "kubernetes":
        from .kubernetes import cluster

        if options.rank is not None:
            raise UserError(f"job {record.job_id}: the logs of ranks are on its volume, in .launches/{folder.name}")
        print(without_commands(cluster.logs(record.resource, record.name, record.namespace)), end="")
        return 0
    paths = _logs_of(folder, options.rank)
    if not paths:
        what = "no log yet" if options.rank is None else f"no log of rank {options.rank}"
        raise UserError(
            f"job {record.job_id}: {what} in {format_path(folder)}; {_state_of(record) or 'it is not known any more'}"
        )
    for path in paths:
        if len(paths) > 1:
            print(f"==> {path.name} <==")
        with path.open(encoding="utf-8", errors="replace") as file:
            if sys.stdout.isatty():
                print(without_commands(file.read()), end="")
            else:
                shutil.copyfileobj(file, sys.stdout)
    return 0


def _logs_of(folder: Path, rank: int | None) -> list[Path]:
    if rank is None:
        return sorted(folder.glob("*.log"))
    found = sorted((folder / LAUNCHES).rglob(f"rank_{rank}.log"), key=lambda path: path.stat().st_mtime)
    return found[-1:]

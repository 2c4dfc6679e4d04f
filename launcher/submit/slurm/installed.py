"""The commands of the installed SLURM: what it understands, handing in a job, and what became of one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ....training.common.errors import UserError
from .. import programs
from .batch_file import GpuSpelling

_GPUS_PER_NODE_SINCE = (19, 5)


def run(program: str, *arguments: str) -> str:
    """Return the output of a command of SLURM. Raises `UserError` where it is missing, fails or does not answer."""
    done = programs.run(
        program,
        *arguments,
        absent="use a login node of the cluster; --dry-run shows the file anywhere",
        silent="ask whether SLURM is up, with `sinfo`",
    )
    if done.returncode:
        raise UserError(f"{program}: {programs.last_words(done)}")
    return done.stdout


def gpu_spelling() -> GpuSpelling:
    """Return how the installed SLURM is asked for GPUs; `gres`, which all versions know, where there is none."""
    try:
        version = re.search(r"(\d+)\.(\d+)", run("sbatch", "--version"))
        if version is None or (int(version[1]), int(version[2])) < _GPUS_PER_NODE_SINCE:
            return "gres"
        # Other plugins refuse the newer options.
        return "gpus-per-node" if "select/cons_tres" in run("scontrol", "show", "config") else "gres"
    except UserError:
        return "gres"


def submit(path: Path) -> tuple[str, str]:
    """Hand in a file; return the number of the job and the cluster, which may be empty. Raises `UserError`."""
    job, _, cluster = run("sbatch", "--parsable", str(path)).strip().splitlines()[-1].partition(";")
    return job, cluster


def state_of(job_id: str, cluster: str) -> str | None:
    """Return the state of a job in words: of the queue, else of the accounts; None where SLURM knows no more of it."""
    there = _at(cluster)
    try:
        lines = run(
            "squeue", *there, "--noheader", f"--jobs={job_id}", "--states=all", "--format=%T\t%r\t%M\t%N"
        ).splitlines()
    except UserError as error:
        if "not installed" in str(error) or "did not answer" in str(error):
            raise
        lines = []  # a job that is long over is an invalid one
    if lines:
        return "; ".join(dict.fromkeys(_state(line) for line in lines))
    try:
        found = run(
            "sacct", *there, "--noheader", "--parsable2", "--allocations", f"--jobs={job_id}", "--format=State,Elapsed"
        )
    except UserError:
        return None
    words = found.split("\n")[0].split("|")
    return f"{words[0]}, {words[1]}" if len(words) == 2 else None


def _state(line: str) -> str:
    state, reason, elapsed, nodes = (*line.split("\t"), "", "", "", "")[:4]
    if state == "PENDING":
        return f"{state} ({reason})"
    return f"{state}, {elapsed}{f' on {nodes}' if nodes else ''}"


def cancel(job_id: str, cluster: str) -> None:
    """Cancel a job: its processes get SIGTERM, and SIGKILL after SLURM's own time. Raises `UserError`."""
    run("scancel", *_at(cluster), job_id)


def _at(cluster: str) -> Sequence[str]:
    return (f"--clusters={cluster}",) if cluster else ()

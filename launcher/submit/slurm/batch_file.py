"""The file that `sbatch` takes: its directives, and the script that starts one launcher a node. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from ....training.common.errors import UserError
from ....training.common.program.launched import FIRST_JOB_PORT, NUM_JOB_PORTS

GpuSpelling = Literal["gpus-per-node", "gres"]
_PLAIN = re.compile(r"[\w.,:;/@%+=-]+", re.ASCII)
_TIME = re.compile(r"(\d+-)?\d+(:\d+){0,2}", re.ASCII)
_MEMORY = re.compile(r"\d+[KMGT]?", re.ASCII)
_GPU = r"([A-Za-z0-9][\w.-]*:)?[1-9]\d{0,3}"
_GPUS = re.compile(f"{_GPU}(,{_GPU})*", re.ASCII)
_ARRAY = re.compile(r"\d+(-\d+(:\d+)?)?(,\d+(-\d+(:\d+)?)?)*(%\d+)?", re.ASCII)
_MORE = re.compile(r"--[a-z][a-z-]+(=.*)?")
_FORMS = {
    "time": (_TIME, "a time of SLURM, as 30, 4:00:00 or 1-12 (minutes, hours, days-hours)"),
    "memory": (_MEMORY, "a size of SLURM, as 64G"),
    "gpus_per_node": (_GPUS, "a number, or a kind and a number, as 4 or a100:4; or one for each node, as 4,2"),
    "array": (_ARRAY, "a list of SLURM, as 0-7 or 0-7%2"),
}
_MOST_SECONDS = 65535  # SLURM keeps them in 16 bits
_WAIT_SECONDS = 300  # that the other nodes may take to save after the first has ended


@dataclass(frozen=True, kw_only=True)
class SlurmJob:
    """What a job asks of SLURM, and what it starts on each node."""

    name: str
    nodes: int
    cpus_per_task: int | None  # None: those of a process for each GPU
    cpus_per_process: int = 4
    gpus_per_node: str | None = None  # `4`, `a100:4`, or one for each node: `4,2`
    gpu_spelling: GpuSpelling = "gres"
    memory: str | None = None  # of a node
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    array: str | None = None
    more: tuple[str, ...] = ()  # options of sbatch, as `--exclusive`
    save_seconds: int = 120
    max_requeues: int = 20
    setup: str | None = None  # a file of the user's that the shell reads first: `module load ...`
    folder: str  # where the training is started
    job_folder: str  # where the log and the folders of the launches go
    python_path: str | None = None  # where Slipway is, if it is not installed
    launch: tuple[str, ...]  # the launcher, its options, the script and its arguments


def to_batch_file(job: SlurmJob) -> str:
    """Return the text of the file. Raises `UserError` for a value that SLURM or the file cannot hold."""
    _check(job)
    lines = [
        "#!/bin/bash",
        "# One launcher a node; it starts the node's processes. Submit it with: sbatch FILE",
        *_directives(job),
        "",
        *_script(job),
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Nodes that are alike; a job of several parts is a heterogeneous one."""

    nodes: int
    gpus: str | None

    def cpus(self, job: SlurmJob) -> int:
        count = int((self.gpus or "1").rpartition(":")[2])
        return job.cpus_per_task or job.cpus_per_process * count


def _parts_of(job: SlurmJob) -> list[_Part]:
    listed = (job.gpus_per_node or "").split(",")
    if len(listed) == 1:
        return [_Part(nodes=job.nodes, gpus=job.gpus_per_node)]
    return [_Part(nodes=len(list(nodes)), gpus=gpus) for gpus, nodes in groupby(listed)]


def _directives(job: SlurmJob) -> Iterator[str]:
    for number, part in enumerate(_parts_of(job)):
        if number:
            yield "#SBATCH hetjob"
        options = [*_options_of_part(job, part), *([] if number else _options_of_job(job))]
        options += [_parts(option) for option in job.more]
        yield from (f"#SBATCH {_directive(name, value)}" for name, value in options)


def _options_of_part(job: SlurmJob, part: _Part) -> Iterator[tuple[str, str | None]]:
    yield "job-name", job.name
    yield "nodes", str(part.nodes)
    yield "ntasks-per-node", "1"
    yield "cpus-per-task", str(part.cpus(job))
    if part.gpus:
        yield job.gpu_spelling, part.gpus if job.gpu_spelling == "gpus-per-node" else f"gpu:{part.gpus}"
    asked = {
        "mem": job.memory,
        "time": job.time,
        "partition": job.partition,
        "account": job.account,
        "qos": job.qos,
        "constraint": job.constraint,
        "array": job.array,
    }
    yield from ((name, value) for name, value in asked.items() if value is not None)


def _options_of_job(job: SlurmJob) -> Iterator[tuple[str, str | None]]:
    yield "chdir", job.folder
    yield "output", f"{job.job_folder}/".replace("%", "%%") + ("%A_%a.log" if job.array else "%j.log")
    yield "signal", f"B:USR1@{job.save_seconds}"
    yield "requeue", None
    yield "open-mode", "append"


def _script(job: SlurmJob) -> Iterator[str]:
    if job.setup is not None:
        yield f"source -- {shlex.quote(job.setup)} || exit 2"
    if job.python_path is not None:
        yield f"export PYTHONPATH={shlex.quote(job.python_path)}${{PYTHONPATH:+:$PYTHONPATH}}"
    launcher, rest = job.launch[:_LAUNCHER_WORDS], job.launch[_LAUNCHER_WORDS:]
    # SLURM has its own time after SIGTERM, and kills what still runs then.
    words = [*launcher, "--log-dir", f"{job.job_folder}/launches", "--grace-seconds", str(job.save_seconds)]
    yield f"port=$(({FIRST_JOB_PORT} + SLURM_JOB_ID % {NUM_JOB_PORTS}))"
    yield "launch=("
    yield from (f"  {shlex.quote(word)}" for word in words)
    yield '  --job "$SLURM_JOB_ID" --main-process-port "$port"'
    yield from (f"  {shlex.quote(word)}" for word in rest)
    yield ")"
    yield f"step=({shlex.join(_step(job))})"
    yield "# USR1, shortly before the end: the ranks save and exit with 75, and the job goes back to the queue."
    yield f'exec {shlex.join([job.launch[0], *_ATTEND])} {job.max_requeues} "${{step[@]}}" "${{launch[@]}}"'


_LAUNCHER_WORDS = 5  # python -P -m slipway launch

# What is run by the same Python as the launcher, which is the first word of its command.
_ATTEND = ("-P", "-m", "slipway.launcher.submit.slurm.attend")


def _step(job: SlurmJob) -> list[str]:
    parts = _parts_of(job)
    if len(parts) == 1:
        count = [f"--nodes={job.nodes}", f"--ntasks={job.nodes}", f"--cpus-per-task={parts[0].cpus(job)}"]
    else:
        count = [f"--het-group=0-{len(parts) - 1}"]
    return ["srun", *count, "--ntasks-per-node=1", "--kill-on-bad-exit=0", f"--wait={_WAIT_SECONDS}"]


def _parts(option: str) -> tuple[str, str | None]:
    name, is_whole, value = option.removeprefix("--").partition("=")
    return name, value if is_whole else None


def _directive(name: str, value: str | None) -> str:
    return f"--{name}" if value is None else f"--{name}={quoted_for_sbatch(value)}"


def quoted_for_sbatch(value: str) -> str:
    """Return a value as sbatch reads it from a line of directives: in double quotes, with backslashes, unless it is plain."""
    if _PLAIN.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _check(job: SlurmJob) -> None:
    for name, value in vars(job).items():
        if not isinstance(value, str) or name == "python_path":
            continue
        if not value or not value.isprintable():
            raise UserError(f"{_flag(name)} {value!r}: a line of the file for sbatch holds printable letters only")
        if name in _FORMS and not _FORMS[name][0].fullmatch(value):
            raise UserError(f"{_flag(name)} {value}: give {_FORMS[name][1]}")
    for name, most in (("nodes", 1 << 16), ("cpus_per_task", 1 << 16), ("save_seconds", _MOST_SECONDS)):
        if getattr(job, name) is not None and not 1 <= getattr(job, name) <= most:
            raise UserError(f"{_flag(name)} {getattr(job, name)}: must be from 1 to {most}")
    if not 0 <= job.max_requeues <= 1_000_000:
        raise UserError(f"--max-requeues {job.max_requeues}: must be from 0 to 1000000")
    listed = len((job.gpus_per_node or "").split(","))
    if listed > 1 and (listed != job.nodes or job.array):
        raise UserError(
            f"--gpus-per-node {job.gpus_per_node}: "
            + ("SLURM has no array of unequal nodes" if job.array else f"{listed} numbers for --nodes {job.nodes}")
        )
    if "\\" in job.job_folder:
        raise UserError(
            f"--jobs-dir: SLURM takes no backslash in the path of a log, {job.job_folder}: choose another folder"
        )
    own = {name for name, _ in (*_options_of_part(job, _parts_of(job)[0]), *_options_of_job(job))} | {
        "gres",
        "gpus-per-node",
        "ntasks",
        "wrap",
        "parsable",
    }
    for option in job.more:
        if not _MORE.fullmatch(option) or not option.isprintable():
            raise UserError(
                f"--sbatch {option!r}: give one option of sbatch with its value, as --sbatch=--nodelist=n[1-4]"
            )
        if _parts(option)[0] in own:
            raise UserError(f"--sbatch {option}: the file says it already; use the option of `slipway submit slurm`")
    for word in (*job.launch, job.setup or "", job.python_path or ""):
        if "\0" in word or "\r" in word:
            raise UserError(f"{word!r}: sbatch takes no file with such a character; leave it out")


def _flag(name: str) -> str:
    return {"job_folder": "--jobs-dir", "folder": "the working folder"}.get(name, f"--{name.replace('_', '-')}")

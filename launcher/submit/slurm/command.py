"""`slipway submit slurm`: write the file of a job, and hand it in."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ....training.common.errors import UserError
from ....training.common.parser import Parser
from ....training.common.program.shown import printable, printable_json
from ....training.common.program.streams import print_to_stderr
from ....training.common.settings import format_path
from ....training.common.small_files import what_is_at
from ...common.paths import IMPORT_ROOT
from ..asked import CPUS_PER_PROCESS, LAUNCHER, cpus_of, here, launch_words, name_of
from ..job_folder import JobRecord, create, folder_for, now, write_record
from . import installed
from .batch_file import SlurmJob, to_batch_file

FILE = "job.sbatch"


def add_options(parser: Parser) -> None:
    """Add the options of a job of SLURM."""
    group = parser.add_argument_group("SLURM")
    group.add_argument("--time", metavar="TIME", help="time limit, as 4:00:00 or 1-12 [the cluster's]")
    for name in ("partition", "account", "qos", "constraint"):
        group.add_argument(f"--{name}", metavar="NAME", help=f"{name} of the job [the cluster's]")
    group.add_argument(
        "--array", metavar="LIST", help="a job for each number of a list, as 0-7; SLURM_ARRAY_TASK_ID has it"
    )
    group.add_argument(
        "--sbatch",
        metavar="OPTION",
        action="append",
        default=[],
        help="another option of sbatch, as --sbatch=--exclusive",
    )
    group.add_argument("--setup", metavar="FILE", help="shell code that the job reads first, as of `module load`")
    group.add_argument(
        "--save-seconds",
        metavar="N",
        type=int,
        default=120,
        help="time before the limit at which the run saves itself [120]",
    )
    group.add_argument(
        "--max-requeues",
        metavar="N",
        type=int,
        default=20,
        help="how often the job goes back to the queue at most [20]",
    )


def run(options: argparse.Namespace, command: Sequence[str]) -> int:
    """Write the file and hand it in, or print it; return 0. Raises `UserError`."""
    folder = folder_for(Path(options.jobs_dir), name_of(options, command))
    text = to_batch_file(make_job(options, command, folder))
    if options.dry_run:
        _show(options, folder, text)
        return 0
    if shutil.which("sbatch") is None:
        installed.run("sbatch")
    path = create(folder, FILE, text)
    try:
        job_id, cluster = installed.submit(path)
    except UserError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"SLURM has not taken the job: {error}; --dry-run shows the file") from None
    record = JobRecord(kind="slurm", job_id=job_id, name=name_of(options, command), submitted_at=now(), cluster=cluster)
    write_record(folder, record)
    print_to_stderr(printable(f"job {job_id} ({record.name}) is handed in: {format_path(path)}"))
    if options.cpus_per_task is None:
        print_to_stderr(f"note: {cpus_of(options)} CPUs of each node are asked for; --cpus-per-task asks for others")
    print_to_stderr(f"slipway submit status {job_id} | logs {job_id} | cancel {job_id}")
    print(job_id)
    return 0


def make_job(options: argparse.Namespace, command: Sequence[str], folder: Path) -> SlurmJob:
    """Return what a job asks for. Raises `UserError`."""
    setup = options.setup
    if setup is not None and not Path(setup).is_file():
        why = "is a folder" if Path(setup).is_dir() else what_is_at(setup) or "no such file"
        raise UserError(f"--setup {setup}: {why}; it holds what the shell does first, such as `module load cuda`")
    unequal = "," in (options.gpus_per_node or "") and options.cpus_per_task is None
    is_installed = IMPORT_ROOT.name in ("site-packages", "dist-packages")
    return SlurmJob(
        name=name_of(options, command),
        nodes=options.nodes,
        cpus_per_task=None if unequal else cpus_of(options),
        cpus_per_process=CPUS_PER_PROCESS,
        gpus_per_node=options.gpus_per_node,
        gpu_spelling=installed.gpu_spelling() if options.gpus_per_node else "gres",
        memory=options.memory,
        time=options.time,
        partition=options.partition,
        account=options.account,
        qos=options.qos,
        constraint=options.constraint,
        array=options.array,
        more=tuple(options.sbatch),
        save_seconds=options.save_seconds,
        max_requeues=options.max_requeues,
        setup=None if setup is None else str(Path(setup).absolute()),
        folder=os.getcwd(),
        job_folder=str(folder),
        python_path=None if is_installed else str(IMPORT_ROOT),
        launch=(here(), *LAUNCHER, *launch_words(options), *command),
    )


def _show(options: argparse.Namespace, folder: Path, text: str) -> None:
    path = str(folder / FILE)
    if options.json:
        data = {"schema_version": 1, "argv": ["sbatch", "--parsable", path], "files": {path: text}}
        print(printable_json(json.dumps(data, indent=2, ensure_ascii=False)))
        return
    print_to_stderr(printable(f"would write {format_path(folder / FILE)} and hand it in with sbatch"))
    print(text, end="")

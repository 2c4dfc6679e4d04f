"""What is asked of a job, whoever runs it: its name, its machines, and the launcher's command line in it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ...training.common.errors import UserError, flag_of
from ...training.common.parser import Parser, parse
from ...training.common.program.shown import one_line
from ..launch.command import check_command, split_command
from ..plan.options import add_intent, intent_of

CPUS_PER_PROCESS = 4
_BY_THE_JOB = ("machine_rank", "main_process_ip", "main_process_port", "rdzv_backend")
"""What each launcher of a job knows by itself."""

LAUNCHER = ("-P", "-m", "slipway", "launch")
"""What Python runs to start the processes of a machine; `-P`: it looks for no module in the working folder."""


def add_job_options(parser: Parser) -> None:
    """Add the options of every kind of job, those of a launch, and the script."""
    parser.add_argument("--name", metavar="NAME", help="name of the job [that of the script]")
    parser.add_argument("--nodes", metavar="N", type=int, default=1, help="machines [1]")
    parser.add_argument(
        "--processes-per-node",
        metavar="N",
        help="processes of each, or one number for each node, as 4,2 [one for each of its GPUs, or one]",
    )
    parser.add_argument(
        "--cpus-per-task", metavar="N", type=int, help=f"CPUs of each machine [{CPUS_PER_PROCESS} for each process]"
    )
    parser.add_argument("--gpus-per-node", metavar="N", help="GPUs of each machine, as 4, a100:4 of a kind, or 4,2")
    parser.add_argument("--memory", metavar="SIZE", help="memory of each machine, as 64G")
    parser.add_argument(
        "--jobs-dir", metavar="DIR", default="runs/.jobs", help="where the folders of jobs are [runs/.jobs]"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be handed in, and do nothing")
    parser.add_argument("--json", action="store_true", help="with --dry-run: as JSON")
    parser.add_argument(
        "--max-restarts", metavar="N", type=int, default=0, help="restarts after a crash, as of a launch [0]"
    )
    parser.add_argument("-m", metavar="MODULE", help="a module instead of SCRIPT, as python -m takes it")
    add_intent(parser)
    parser.add_argument("script", metavar="SCRIPT", nargs=argparse.REMAINDER, help="the script, then its own arguments")


def read_job(parser: Parser, arguments: list[str], *, is_here: bool) -> tuple[argparse.Namespace, list[str]]:
    """Return the options of a job, and its script or module with its arguments. Raises `UserError`.

    `is_here` tells that its machines share this one's disk, so that the script can be looked for.
    """
    own, command = split_command(parser, arguments)
    options = parse(parser, own)
    if not command or is_here:
        try:
            check_command(command)
        except UserError as error:
            raise UserError(str(error).replace("slipway launch", parser.prog)) from None
    if options.config is not None and is_here:
        options.config = str(Path(options.config).absolute())
    if options.json and not options.dry_run:
        raise UserError(f"{parser.prog}: --json shows what --dry-run would do: add --dry-run")
    if given := [flag_of(name) for name in _BY_THE_JOB if getattr(options, name) is not None]:
        raise UserError(f"{parser.prog}: {given[0]}: each machine of the job finds it by itself; leave it out")
    if options.num_machines is not None:
        raise UserError(f"{parser.prog}: --num-machines {options.num_machines}: of a job it is --nodes")
    for name in ("nodes", "cpus_per_task"):
        if (value := getattr(options, name)) is not None and not 1 <= value <= 1 << 16:
            raise UserError(f"{parser.prog}: {flag_of(name)} {value}: must be from 1 to {1 << 16}")
    if options.processes_per_node is None and options.processes_per_host is None and options.num_processes is None:
        counts = [gpus.rpartition(":")[2] for gpus in str(options.gpus_per_node or "").split(",")]
        options.processes_per_host = ",".join(counts) if len(counts) > 1 else None
    if options.processes_per_node is not None:
        if options.processes_per_host is not None or options.num_processes is not None:
            raise UserError(f"{parser.prog}: the processes are said twice: give --processes-per-node alone")
        options.processes_per_host = options.processes_per_node
    listed = len(str(options.processes_per_host or "").split(","))
    if listed not in (1, options.nodes):
        raise UserError(
            f"{parser.prog}: {listed} numbers of processes or GPUs for --nodes {options.nodes}: give one for each"
        )
    if not 0 <= options.max_restarts <= 1_000_000:
        raise UserError(f"{parser.prog}: --max-restarts {options.max_restarts}: must be from 0 to 1,000,000")
    # What is wrong is told now, and not once the job has waited for its turn.
    intent_of(options if is_here else argparse.Namespace(**{**vars(options), "config": None}))
    return options, command


def launch_words(options: argparse.Namespace) -> list[str]:
    """Return the options of the launcher on each machine."""
    from ..plan.settings import intent_types

    words = []
    for name in intent_types():
        value = getattr(options, name)
        if value is True or value is False:
            words.append(flag_of(name) if value else f"--no-{name.replace('_', '-')}")
        elif value is not None:
            words += [flag_of(name), str(value)]
    if options.config is not None:
        words += ["--config", options.config]
    if options.max_restarts:
        words += ["--max-restarts", str(options.max_restarts)]
    return words


def processes_of(options: argparse.Namespace) -> int:
    """Return how many processes a machine will have, as far as the options say."""
    if options.processes_per_host is not None:
        counts = str(options.processes_per_host).split(",")
        return max((int(count) for count in counts if count.strip().isdecimal()), default=1)
    if options.num_processes is not None and str(options.num_processes).isdecimal():
        return max(1, int(options.num_processes) // options.nodes)
    gpus = str(options.gpus_per_node or "").rpartition(":")[2]
    return max(1, int(gpus)) if gpus.isdecimal() else 1


def cpus_of(options: argparse.Namespace) -> int:
    """Return the CPUs of a machine that are asked for."""
    return int(options.cpus_per_task or CPUS_PER_PROCESS * processes_of(options))


def name_of(options: argparse.Namespace, command: Sequence[str]) -> str:
    """Return the name of a job. Raises `UserError` for one that is none."""
    if options.name is not None:
        if not options.name.strip() or not options.name.isprintable():
            raise UserError(f"--name {one_line(repr(options.name))}: a name has printable letters only")
        return str(options.name)
    named = command[1] if command[0] == "-m" else Path(command[0]).stem
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in named) or "slipway"


def here() -> str:
    """Return the Python that runs the launcher on this machine, and on those that share its disk."""
    return sys.executable

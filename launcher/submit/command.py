"""`slipway submit`: hand a training in as a job, and follow it."""

from __future__ import annotations

import argparse
from importlib import import_module

from ...training.common.parser import Parser, Subcommand, add_subcommands, make_parser, parse
from .asked import add_job_options, read_job
from .kubernetes.command import add_options as add_kubernetes_options
from .slurm.command import add_options as add_slurm_options

_JOBS = "[options] SCRIPT [arguments]"


def _add_slurm(parser: Parser) -> None:
    add_slurm_options(parser)
    add_job_options(parser)


def _add_kubernetes(parser: Parser) -> None:
    add_kubernetes_options(parser)
    add_job_options(parser)


def _add_follow(parser: Parser) -> None:
    parser.add_argument(
        "--jobs-dir", metavar="DIR", default="runs/.jobs", help="where the folders of jobs are [runs/.jobs]"
    )


def _add_status(parser: Parser) -> None:
    _add_follow(parser)
    parser.add_argument("job", metavar="JOB", nargs="?", help="its number or name [all jobs of this folder]")


def _add_cancel(parser: Parser) -> None:
    _add_follow(parser)
    parser.add_argument("job", metavar="JOB", help="its number or name")


def _add_logs(parser: Parser) -> None:
    _add_follow(parser)
    parser.add_argument(
        "--rank", metavar="N", type=int, help="the log of this rank, from its newest start [that of the job]"
    )
    parser.add_argument("job", metavar="JOB", nargs="?", help="its number or name [the newest]")


_COMMANDS = (
    Subcommand(
        name="slurm",
        arguments=_JOBS,
        help="write an sbatch file and submit it",
        add_options=_add_slurm,
        module="slipway.launcher.submit.slurm.command",
    ),
    Subcommand(
        name="kubernetes",
        arguments=_JOBS,
        help="make a TrainJob or a Job of Kubernetes and hand it in",
        add_options=_add_kubernetes,
        module="slipway.launcher.submit.kubernetes.command",
    ),
    Subcommand(
        name="status",
        arguments="[JOB]",
        help="show what became of jobs",
        add_options=_add_status,
        module="slipway.launcher.submit.follow",
    ),
    Subcommand(
        name="cancel",
        arguments="JOB",
        help="end a job; its run can be resumed",
        add_options=_add_cancel,
        module="slipway.launcher.submit.follow",
    ),
    Subcommand(
        name="logs",
        arguments="[JOB] [--rank N]",
        help="print the log of a job, or of one of its ranks",
        add_options=_add_logs,
        module="slipway.launcher.submit.follow",
    ),
)


def build_parser() -> Parser:
    """Return the parser of the command, with one for each of its own commands."""
    return _build()[0]


def _build() -> tuple[Parser, dict[str, Parser]]:
    parser = make_parser("submit", "Hand a training in as a job of a cluster, and follow it.", "COMMAND ...")
    return parser, add_subcommands(parser, _COMMANDS)


def main(arguments: list[str]) -> int:
    """Run one of the commands; return the exit code. Raises `UserError`."""
    parser, built = _build()
    found = next((command for command in _COMMANDS if arguments[:1] == [command.name]), None)
    if found is None:
        parse(parser, arguments)
        raise AssertionError("the parser takes none but the commands")
    module = import_module(found.module)  # a kind of job has `run`, another command a function of its name
    options: argparse.Namespace
    if found.arguments == _JOBS:
        options, command = read_job(built[found.name], arguments[1:], is_here=found.name == "slurm")
        code: int = module.run(options, command)
    else:
        code = getattr(module, found.name)(parse(built[found.name], arguments[1:]))
    return code

"""`slipway launch`: plan for this machine, write the launch folder, and run a script as planned."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...training.common.errors import EXIT_INTERRUPTED, UserError, nearest
from ...training.common.parser import Parser, make_parser, parse
from ..plan.options import add_intent, add_machine, hardware_of, intent_of, machine_words
from ..plan.spellings import as_spelled_here
from .allocation import start_on_all_nodes

if TYPE_CHECKING:
    from ...training.common.plan_file import ContinuedRun
    from ..plan.replan import EarlierRun

_GRACE_SECONDS = 8.0
_CONFIGS = (".yaml", ".yml", ".json")
_SCRIPTS = ("", ".py", ".pyw", ".pyc", ".pyz", ".zip")
"""What Python runs, by the end of its name."""
_MOST_RESTARTS = 1_000_000
_WORKER = Path(__file__).parent / "worker"


def build_parser() -> Parser:
    """Return the parser of the command."""
    usage = "[options] SCRIPT [arguments]\n       slipway launch [options] -m MODULE [arguments]"
    parser = make_parser("launch", "Plan for this machine and start a training script as planned.", usage)
    parser.add_argument("-m", metavar="MODULE", help="a module instead of SCRIPT, as python -m takes it")
    add_launch_options(parser)
    parser.add_argument("script", metavar="SCRIPT", nargs=argparse.REMAINDER, help="the script, then its own arguments")
    return parser


def main(arguments: list[str]) -> int:
    """Run a script, or with `-m` a module, as planned; return its exit code. Call it in the main thread."""
    parser = build_parser()
    try:
        options, command = _read(parser, arguments)
    except UserError as error:
        from .meant import command_meant

        if (line := command_meant(parser, arguments, partial(_read, parser))) is None:
            raise
        raise UserError(f"{error}; write: {line}") from None
    if options.hosts is None:
        start_on_all_nodes(options)
    return start(options, command)


def _read(parser: Parser, arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the options of a launch, and the script or module with its arguments. Raises `UserError`."""
    own, command = split_command(parser, as_spelled_here(parser, arguments))
    if len(command) > 1 and Path(command[0]).suffix in _CONFIGS:  # slipway launch FILE.yaml SCRIPT
        own, command = [*own, "--config", command[0]], command[1:]
        more, command = split_command(parser, as_spelled_here(parser, command))
        own += more
    options = parse(parser, own)
    check_command(command)
    return options, command


def add_launch_options(parser: Parser) -> None:
    """Add the options of a launch."""
    from .folder import DEFAULT_LOG_DIR

    parser.add_argument(
        "--max-restarts",
        metavar="N",
        type=int,
        default=0,
        help="after a crash start again from the last checkpoint, N times at most [0]",
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be started and written, and do neither")
    parser.add_argument("--json", action="store_true", help="with --dry-run: as JSON")
    add_machine(parser)
    parser.add_argument(
        "--log-dir",
        metavar="DIR",
        default=str(DEFAULT_LOG_DIR),
        help=f"where the folder of this launch goes [{DEFAULT_LOG_DIR}]",
    )
    parser.add_argument(
        "--grace-seconds",
        metavar="SECONDS",
        type=float,
        default=_GRACE_SECONDS,
        help=f"time to end after SIGTERM or SIGINT, before SIGKILL [{_GRACE_SECONDS:g}]",
    )
    parser.add_argument(
        "--hosts",
        metavar="HOSTS",
        help="start on these hosts over ssh: a,user@b:2, or a file with one a line, `user@b slots=2`",
    )
    parser.add_argument(
        "--job",
        metavar="NAME",
        help="the starts of this name, with the same --log-dir, are one job: it goes on with the run it had begun [in a job of "
        "SLURM its number]",
    )
    add_intent(parser)


def start(
    options: argparse.Namespace,
    command: Sequence[str],
    earlier: EarlierRun | None = None,
    continues: ContinuedRun | None = None,
) -> int:
    """Run a command as the parsed options of a launch say; with an earlier run as that was, to go on with it.

    `continues` makes it a new run, which goes on from the earlier one.

    Return the exit code. Call it in the main thread. Raises `UserError`.
    """
    _check_options(options)
    from ..plan.make_plan import make_plan
    from ..plan.replan import as_before
    from .allocation import job_of, settle
    from .environment import stale_variables
    from .folder import runs_begun
    from .launching import Launch, without_leftovers

    stale = stale_variables(os.environ)
    try:
        if options.hosts is not None:
            return _start_on_hosts(options, command, earlier, continues)
        hardware = without_leftovers(hardware_of(options), stale)
        intent = intent_of(options)
        notes: tuple[str, ...] = ()
        if not machine_words(options):
            hardware, intent, notes = settle(hardware, intent)
        if earlier is not None:
            intent, more = as_before(intent, hardware, earlier)
            notes = (*notes, *more)
        if stale:
            notes = (*notes, f"another launch's variables are not passed on: {', '.join(stale)}")
        launch = Launch(options, command, intent, stale, earlier, continues)
        launch.job = job_of(options, os.environ)
        if launch.job and (earlier is None or continues is not None):
            notes = (*notes, *launch.go_on_with(runs_begun(Path(options.log_dir), launch.job)))
        return launch.start(make_plan(hardware, intent), notes)
    except KeyboardInterrupt:  # before anything was started
        return EXIT_INTERRUPTED


def _start_on_hosts(
    options: argparse.Namespace, command: Sequence[str], earlier: EarlierRun | None, continues: ContinuedRun | None
) -> int:
    from ..hosts.over_ssh import start_on_hosts
    from .folder import next_folder

    if earlier is not None or continues is not None:
        raise UserError("--hosts goes with slipway launch: give the script --resume RUN")
    return start_on_hosts(options, command, intent_of(options), next_folder(Path(options.log_dir)))


def _check_options(options: argparse.Namespace) -> None:
    if (named := machine_words(options)) and not options.dry_run:
        raise UserError(f"slipway launch: {named[0]} is another machine's: add --dry-run, or leave it out")
    if options.json and not options.dry_run:
        raise UserError("slipway launch: --json shows what --dry-run would do: add --dry-run")
    if not 0 <= options.grace_seconds < float("inf"):
        raise UserError(f"slipway launch: --grace-seconds {options.grace_seconds:g}: must be 0 or more")
    if not 0 <= options.max_restarts <= _MOST_RESTARTS:
        raise UserError(f"slipway launch: --max-restarts {options.max_restarts}: must be from 0 to {_MOST_RESTARTS:,}")


def split_command(parser: Parser, arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the launcher's own arguments, and the script or module with its own, word for word."""
    has_value = {name: action.nargs != 0 for action in parser._actions for name in action.option_strings}
    at = 0
    while at < len(arguments):
        word = arguments[at]
        if word == "--":
            return arguments[:at], arguments[at + 1 :]
        if (word == "-m" and at + 1 < len(arguments)) or not word.startswith("-"):
            return arguments[:at], arguments[at:]
        at += 2 if has_value.get(word) else 1  # `--option=value` is one word, and no name
    return arguments, []


def check_command(command: list[str]) -> None:
    """Raise `UserError` unless the words name a script that Python runs, or a module."""
    if not command:
        raise UserError("slipway launch: name the SCRIPT to start, or -m MODULE; see `slipway launch --help`")
    if not command[0].strip():
        raise UserError(
            "slipway launch: a blank follows the backslash at the end of a line, which ends the command there: remove the blank"
        )
    script = Path(command[0])
    if script.suffix in _CONFIGS:
        raise UserError(f"slipway launch: {command[0]} is a config: name the SCRIPT behind it")
    if command[0] == "-m":
        return
    if script.is_file():
        if script.suffix not in _SCRIPTS:
            raise UserError(f"slipway launch: {command[0]} is no Python script; name a .py file, or a module with -m")
        return
    if script.is_dir():
        raise UserError(f"slipway launch: {command[0]} is a folder; name the script in it")
    names = [path.name for path in script.parent.iterdir()] if script.parent.is_dir() else []
    raise UserError(f"slipway launch: no such file: {command[0]}{nearest(script.name, names)}")

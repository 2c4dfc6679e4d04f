"""The `slipway` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from ..training.common.errors import UserError, nearest

# Modules are imported where they are used: a command pays for what it needs, and `slipway train` for nothing.

_USAGE = """usage: slipway train [options]                train; `slipway train --help` lists the options
       slipway launch [options] SCRIPT [...]  plan for this machine and start a script as planned
       slipway wizard [options]               plan in a conversation, write the config, launch
       slipway resume [options] RUN           go on with a run from its newest checkpoint
       slipway runs [options]                 show the runs: state, step, best, checkpoint
       slipway detect [options]               show this machine: CPU, memory, accelerators, torch, scheduler
       slipway plan [options]                 show how a training would be started here, and why
       slipway config [options]               write that as an Accelerate config and print the command
       slipway doctor [options]               check what keeps a training from running here
       slipway schema RECORD                  print the JSON schema of a record: hardware, plan or doctor
       slipway completion SHELL               print the completion script of bash, zsh or fish
       slipway --version
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; return the exit code, 2 for what the user can mend (said in one line)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments in (["--help"], ["-h"]):
        print(_USAGE, end="")
        return 0
    if arguments == ["--version"]:
        from .. import __version__

        print(__version__)
        return 0
    if not arguments:
        print(f"error: no command\n{_USAGE}", end="", file=sys.stderr)
        return 2
    try:
        command = _COMMANDS.get(arguments[0])
        if command is None:
            known = [*_COMMANDS, "--help", "--version"]
            raise UserError(f"unknown command {arguments[0]!r}{nearest(arguments[0], known)}; see `slipway --help`")
        code = command(arguments[1:])
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Who read it has seen enough; what is still held back has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _train(arguments: list[str]) -> int:
    from .common.paths import TRAIN_SCRIPT

    # Replaces this process, so signals and exit code are the training's own. By its path: with `-m`, Python would look
    # for every module in the working folder first, and take a `datasets.py` or `slipway.py` of the user's own.
    os.execv(sys.executable, [sys.executable, str(TRAIN_SCRIPT), *arguments])


def _detect(arguments: list[str]) -> int:
    from .common.parser import make_parser, parse
    from .hardware.detect import hardware_of

    parser = make_parser("detect", "Show this machine: what it has, what limits it, and what will go wrong.")
    parser.add_argument("--json", action="store_true", help="print the record as JSON, for --hardware")
    parser.add_argument("--hardware", metavar="FILE", help="show the machine recorded in FILE instead of this one")
    options = parse(parser, arguments)

    hardware = hardware_of(options.hardware)
    if options.json:
        print(hardware.to_json())
        return 0
    from rich.console import Console

    from .hardware.show import draw

    console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
    for part in draw(hardware):
        console.print(part)
    return 0


def _elsewhere(module: str, function: str) -> Callable[[list[str]], int]:
    """Return a command that stands in a module of its own, imported when it is called."""

    def command(arguments: list[str]) -> int:
        from importlib import import_module

        code: int = getattr(import_module(module), function)(arguments)
        return code

    return command


def _schema(arguments: list[str]) -> int:
    from .common.parser import make_parser, parse

    parser = make_parser("schema", "Print a JSON schema.")
    parser.add_argument("record", metavar="{hardware,plan,doctor}", help="the record")
    options = parse(parser, arguments)
    import json

    from ..training.common.json_records import json_schema
    from .doctor.check import DOCTOR_SCHEMA_VERSION, Report
    from .hardware.record import SCHEMA_VERSION, Hardware
    from .plan.records import PLAN_SCHEMA_VERSION, LaunchPlan

    known = {
        "hardware": (Hardware, SCHEMA_VERSION),
        "plan": (LaunchPlan, PLAN_SCHEMA_VERSION),
        "doctor": (Report, DOCTOR_SCHEMA_VERSION),
    }
    if options.record not in known:
        raise UserError(f"slipway schema: unknown record {options.record!r}{nearest(options.record, known)}")
    print(json.dumps(json_schema(*known[options.record]), indent=2))
    return 0


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "launch": _elsewhere("slipway.launcher.launch.command", "launch"),
    "wizard": _elsewhere("slipway.launcher.wizard.command", "wizard"),
    "resume": _elsewhere("slipway.launcher.launch.runs", "resume"),
    "runs": _elsewhere("slipway.launcher.launch.runs", "runs"),
    "detect": _detect,
    "plan": _elsewhere("slipway.launcher.plan.commands", "plan"),
    "config": _elsewhere("slipway.launcher.plan.commands", "config"),
    "doctor": _elsewhere("slipway.launcher.doctor.command", "doctor"),
    "schema": _schema,
    "completion": _elsewhere("slipway.launcher.completion.command", "completion"),
}

"""The `slipway` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from launcher.errors import UserError, nearest

if TYPE_CHECKING:
    import argparse

    from launcher.hardware import Hardware

# Modules are imported where they are used: a command pays for what it needs, and `slipway train` for nothing.

_USAGE = """usage: slipway train [options]    train; `slipway train --help` lists the options
       slipway detect [options]   show this machine: CPU, memory, accelerators, torch, environment, scheduler
       slipway schema hardware    print the JSON schema of what `slipway detect --json` prints
       slipway --version
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; return the exit code, 2 for what the user can mend (said in one line)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments in (["--help"], ["-h"]):
        print(_USAGE, end="")
        return 0
    if arguments == ["--version"]:
        from importlib.metadata import version

        print(version("slipway"))
        return 0
    if not arguments:
        print(f"error: no command\n{_USAGE}", end="", file=sys.stderr)
        return 2
    try:
        command = _COMMANDS.get(arguments[0])
        if command is None:
            known = [*_COMMANDS, "--help", "--version"]
            raise UserError(f"unknown command {arguments[0]!r}{nearest(arguments[0], known)}; see `slipway --help`")
        return command(arguments[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _train(arguments: list[str]) -> NoReturn:
    # Replaces this process, so signals and exit code are the training's own.
    os.execv(sys.executable, [sys.executable, "-m", "training", *arguments])


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    """Return a parser whose errors are one line, raised as `UserError`."""
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise UserError(f"slipway {name}: {message}; see `slipway {name} --help`")

    return Parser(prog=f"slipway {name}", description=description, allow_abbrev=False)


def _parse(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """Return the parsed arguments; an unknown option names the nearest right one."""
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [option for action in parser._actions for option in action.option_strings]
        raise UserError(f"{parser.prog}: unknown argument {unknown[0]!r}{nearest(unknown[0].split('=')[0], known)}")
    return options


def _detect(arguments: list[str]) -> int:
    parser = _parser("detect", "Show this machine: what it has, what limits it, and what will go wrong.")
    parser.add_argument("--json", action="store_true", help="print the record as JSON, for --hardware")
    parser.add_argument("--hardware", metavar="FILE", help="show the machine recorded in FILE instead of this one")
    options = _parse(parser, arguments)

    from launcher.detect import detect, draw
    from launcher.probes.sources import ProbeError

    try:
        hardware = read_hardware(options.hardware) if options.hardware else detect()
    except ProbeError as error:
        raise UserError(str(error)) from None
    if options.json:
        print(hardware.to_json())
        return 0
    from rich.console import Console

    console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
    for part in draw(hardware):
        console.print(part)
    return 0


def read_hardware(path: str) -> Hardware:
    """Return the record in a file. Raises `UserError`."""
    from launcher.hardware import Hardware

    try:
        with open(path, encoding="utf-8") as file:
            return Hardware.from_json(file.read(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--hardware {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None


def _schema(arguments: list[str]) -> int:
    parser = _parser("schema", "Print a JSON schema.")
    parser.add_argument("record", metavar="{hardware}", help="the record: hardware")
    options = _parse(parser, arguments)
    if options.record != "hardware":
        raise UserError(f"slipway schema: unknown record {options.record!r}{nearest(options.record, ['hardware'])}")
    import json

    from launcher.hardware import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


_COMMANDS: dict[str, Callable[[list[str]], int]] = {"train": _train, "detect": _detect, "schema": _schema}

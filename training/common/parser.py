"""Parsers of the commands: an error is one line that names the nearest right option."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from .errors import UserError, nearest
from .program.streams import end_of_output

_DASHES = re.compile(r"^[\u2010-\u2015\u2212]+-?(?=\w)")
"""What a word processor makes of two dashes."""
_TRUTH = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
_VALUES = {
    **{name: f"--{name}" for name in ("num-processes", "num-machines", "machine-rank", "main-process-ip")},
    **{name: f"--{name}" for name in ("main-process-port", "rdzv-backend", "threads-per-process")},
    **dict.fromkeys(("nproc-per-node", "nproc", "num-procs", "np"), "--local"),
    "nnodes": "--num-machines",
    "node-rank": "--machine-rank",
    "master-addr": "--main-process-ip",
    "master-port": "--main-process-port",
    "num-cpu-threads-per-process": "--threads-per-process",
    "config-file": "--config",
}
"""Options of launchers, without their dashes, and what each is called here; `--local` counts processes of one machine."""
_NO_VALUES: dict[str, dict[str, str]] = {
    **{name: {} for name in ("standalone", "use-env", "same-network")},
    "use-fsdp": {"--sharding": "fsdp"},
    "use-deepspeed": {"--sharding": "zero2"},
}


class DashesParser(argparse.ArgumentParser):
    """A parser that takes `--option=--` for an option without a value; argparse would hand on an empty list.

    A help that cannot be printed ends with 1, as all that is asked for; argparse would say nothing.
    """

    def _print_message(self, message: str, file: Any = None) -> None:
        try:
            print(message, end="", file=file or sys.stderr, flush=True)
        except OSError as error:
            code = end_of_output(error)
            if code is None:
                raise
            sys.exit(code)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.option_strings and arg_strings == ["--"]:
            raise argparse.ArgumentError(action, "-- is no value")
        return super()._get_values(action, arg_strings)


class Parser(DashesParser):
    """A parser whose errors are raised as `UserError`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def error(self, message: str) -> NoReturn:
        """Raise the message as a `UserError`."""
        raise UserError(f"{self.prog}: {message}; see `{self.prog} --help`")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            message = f"{value!r} is none of {', '.join(known)}{nearest(str(value), known)}"
            raise argparse.ArgumentError(action, message)


@dataclass(frozen=True, kw_only=True)
class Subcommand:
    """A command of a command, as `inspect` is one of `slipway data`."""

    name: str
    arguments: str
    """As its usage shows them."""
    help: str
    add_options: Callable[[Parser], None]
    module: str
    """Runs it, and is imported when it is used."""


def add_subcommands(parser: Parser, commands: Sequence[Subcommand]) -> dict[str, Parser]:
    """Add a parser for each of the commands; return them by name. The one that is meant is `command` of the options."""
    taken = parser.add_subparsers(metavar="COMMAND", dest="command", required=True, help="what to do")
    built: dict[str, Parser] = {}
    for command in commands:
        prog = f"{parser.prog} {command.name}"
        built[command.name] = taken.add_parser(
            command.name,
            prog=prog,
            usage=f"{prog} {command.arguments}",
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            help=command.help,
            allow_abbrev=False,
        )
        command.add_options(built[command.name])
    return built


def make_parser(name: str, description: str, usage: str = "[options]") -> Parser:
    """Return the parser of `slipway name`; `usage` is what follows the name in the first line of its help."""
    prog = f"slipway {name}"
    return Parser(prog=prog, usage=f"{prog} {usage}", description=description, allow_abbrev=False)


def parse(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """Return the parsed arguments; an unknown option names the nearest right one."""
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parser = action.choices[getattr(options, action.dest)]
        known = [option for action in parser._actions for option in action.option_strings]
        raise UserError(f"{parser.prog}: unknown argument {unknown[0]!r}{nearest(unknown[0].split('=')[0], known)}")
    return options


def mended(words: Sequence[str], flags: Container[str]) -> list[str]:
    """Return the words of a command line as they were meant: no blank ones, dashes that are dashes, flags without a value.

    `--compile true`, with `--compile` among the `flags`, is `--compile`, and with `false` `--no-compile`.
    """
    found: list[str] = []
    for word in words:
        name, _, value = _DASHES.sub("--", word).partition("=")
        if name in flags and value.lower() in _TRUTH:
            found.append(name if _TRUTH[value.lower()] else f"--no-{name[2:]}")
        elif found and found[-1] in flags and word.lower() in _TRUTH:
            found[-1] = found[-1] if _TRUTH[word.lower()] else f"--no-{found[-1][2:]}"
        elif word.strip():
            found.append(_DASHES.sub("--", word))
    return found


def of_launcher(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the options of `slipway launch` that other launchers' options among the words mean, and the other words."""
    own: dict[str, str] = {}
    rest: list[str] = []
    at = 0
    while at < len(words):
        name, is_whole, value = words[at].partition("=")
        plain = name.lstrip("-").replace("_", "-") if name.startswith("-") else ""
        at += 1
        if plain in _NO_VALUES:
            own |= _NO_VALUES[plain]
        elif plain in _VALUES:
            if not is_whole and at < len(words):
                value, at = words[at], at + 1
            own[_VALUES[plain]] = value
        else:
            rest.append(words[at - 1])
    per_node, nodes = own.pop("--local", None), own.get("--num-machines", "1")
    if per_node is not None:
        are_numbers = per_node.isdecimal() and nodes.isdecimal()
        own["--num-processes"] = str(int(per_node) * int(nodes)) if are_numbers else per_node
    return [word for pair in own.items() for word in pair], rest

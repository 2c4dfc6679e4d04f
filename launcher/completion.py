"""`slipway completion`: print what makes a shell complete commands, options, their values, files and runs on Tab.

What is printed asks `slipway` itself at each Tab (argcomplete), so it never gets out of date and knows the runs there are.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from ..training.common.parser import Parser, make_parser, parse
from .cli import COMMANDS

_PATHS = ("FILE", "PATH", "DIR", "FOLDER", "OUT", "SCRIPT", "DATA", "CONFIG", "RESUME")
"""What the help calls a value that is a path."""


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "completion", "Print shell code that completes commands, options, values, files and runs.", "SHELL"
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell that evaluates what is printed")
    return parser


def main(arguments: list[str]) -> int:
    """Print the shell code; return 0."""
    options = parse(build_parser(), arguments)
    from argcomplete import shellcode

    print(shellcode(["slipway"], use_defaults=False, shell=options.shell), end="")
    return 0


def complete() -> NoReturn:
    """Print what may stand at the cursor of the command line that a shell gives in `COMP_LINE`, and exit."""
    import argcomplete

    before = argcomplete.split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3]
    # zsh gives its line from the beginning, where another command may stand: `cd project && slipway plan`.
    start = max((at for at, word in enumerate(before) if Path(word).name == "slipway"), default=0)
    os.environ["_ARGCOMPLETE"] = str(1 + start)
    parser = argparse.ArgumentParser(prog="slipway")
    parser.add_argument("--version", action="store_true", help="print the version")
    subparsers = parser.add_subparsers()
    takes_options_only = False
    for command in COMMANDS:
        if [command.name] == before[start + 1 : start + 2]:
            built = import_module(command.module).build_parser()
            _add_completers(built)
            takes_options_only = all(action.option_strings for action in built._actions)
            subparsers.add_parser(command.name, parents=[built], add_help=False)
        else:
            subparsers.add_parser(command.name, help=command.help)
    nothing = argcomplete.ChoicesCompleter({})
    argcomplete.autocomplete(parser, always_complete_options=takes_options_only, default_completer=nothing)
    raise AssertionError("argcomplete exits")


def _add_completers(parser: argparse.ArgumentParser) -> None:
    """Set what argcomplete offers for values that are words, files or runs; it knows argparse's `choices` by itself."""
    from argcomplete import ChoicesCompleter, FilesCompleter

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _add_completers(command)
            continue
        value = str(action.metavar or action.dest)
        completer: Any = None
        if listed := re.fullmatch(r"\{(.+)\}", value):
            completer = ChoicesCompleter(dict.fromkeys(listed[1].split(","), ""))
        elif value.upper() in _PATHS:
            completer = FilesCompleter()
        elif value == "RUN":
            completer = _complete_runs
        if completer:
            action.completer = completer  # type: ignore[attr-defined]


def _complete_runs(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> Iterable[str]:
    """Return the names that `slipway resume` finds in the folder of runs."""
    return sorted(path.parent.name for path in Path(parsed_args.runs_dir).glob(f"{prefix}*/run.json"))

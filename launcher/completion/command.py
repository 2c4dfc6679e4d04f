"""`slipway completion`: a script for bash, zsh or fish, made from the parsers, so that it knows what they know."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

from ...training.common.errors import UserError, nearest
from ..common.parser import make_parser, parse, parser_of

# What a value is called in the help where it is a path.
_PATHS = ("FILE", "PATH", "DIR", "FOLDER", "OUT", "SCRIPT", "DATA", "CONFIG", "RESUME")
# Commands that take a script and its arguments, which they split off before they parse.
_SCRIPT_STARTERS = ("launch",)


@dataclass(frozen=True, kw_only=True)
class Value:
    """What may stand in a place: one of some words, or a file; neither is something that only the person knows."""

    words: tuple[str, ...]
    files: bool


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option by all its names, such as `-h` and `--help`; a switch has no value."""

    names: tuple[str, ...]
    help: str
    value: Value | None


@dataclass(frozen=True, kw_only=True)
class Command:
    """A subcommand and what it takes; with `takes_rest`, what follows the argument is the argument's own."""

    name: str
    help: str
    options: tuple[Option, ...]
    argument: Value | None
    takes_rest: bool


def completion(arguments: list[str]) -> int:
    """Print the completion script of a shell."""
    parser = make_parser("completion", "Print a script that completes commands, options, their values and files.")
    parser.add_argument("shell", metavar="{bash,zsh,fish}", help="the shell: bash, zsh or fish")
    options = parse(parser, arguments)

    from . import scripts as completion_scripts

    scripts = {
        "bash": completion_scripts.bash,
        "zsh": completion_scripts.zsh,
        "fish": completion_scripts.fish,
    }
    if options.shell not in scripts:
        raise UserError(f"slipway completion: unknown shell {options.shell!r}{nearest(options.shell, scripts)}")
    print(scripts[options.shell](commands()), end="")
    return 0


def commands() -> list[Command]:
    """Return every subcommand of `slipway` with what it takes."""
    from ..cli import _COMMANDS
    from .ask_training import ask_training

    return [
        ask_training() if name == "train" else describe(name, parser_of(command)) for name, command in _COMMANDS.items()
    ]


def describe(name: str, parser: argparse.ArgumentParser) -> Command:
    """Return what a parser takes."""
    options = [action for action in parser._actions if action.option_strings]
    starter = name in _SCRIPT_STARTERS
    positional = [action for action in parser._actions if not action.option_strings]
    return Command(
        name=name,
        help=_sentence(parser.description or name),
        options=tuple(
            Option(names=tuple(one.option_strings), help=_sentence(one.help or ""), value=_value_of(one))
            for one in options
        ),
        argument=Value(words=(), files=True) if starter else _value_of(positional[0]) if positional else None,
        takes_rest=starter,
    )


def _value_of(action: argparse.Action) -> Value | None:
    if action.nargs == 0:
        return None
    shown = str(action.metavar or action.dest)
    listed = re.fullmatch(r"\{(.+)\}", shown)
    words = tuple(map(str, action.choices)) if action.choices else tuple(listed[1].split(",")) if listed else ()
    return Value(words=words, files=not words and shown.upper() in _PATHS)


def _sentence(text: str) -> str:
    """Return the first sentence of a help text, with argparse's doubled percent signs as they are shown."""
    return " ".join(text.replace("%%", "%").split()).split(". ")[0].removesuffix(".")

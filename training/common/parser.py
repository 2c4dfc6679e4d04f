"""Parsers of the commands: an error is one line that names the nearest right option."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from .errors import UserError, nearest


class Parser(argparse.ArgumentParser):
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

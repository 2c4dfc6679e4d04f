"""Command lines of the launcher: parsers whose errors are one line, and options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn

from ...training.common.errors import UserError, nearest

if TYPE_CHECKING:
    pass


class Parser(argparse.ArgumentParser):
    """A parser whose errors are raised as `UserError`."""

    def parse_known_args(self, *arguments: Any, **settings: Any) -> Any:
        """Parse, or hand this parser to `parser_of` where that one asks."""
        if _asked.get():
            raise _ParserFound(self)
        return super().parse_known_args(*arguments, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise the message as a `UserError`."""
        raise UserError(f"{self.prog}: {message}; see `{self.prog} --help`")


class _ParserFound(BaseException):  # which no `except Exception` of a command holds up
    def __init__(self, parser: Parser) -> None:
        self.parser = parser


_asked: ContextVar[bool] = ContextVar("asked", default=False)


def parser_of(command: Callable[[list[str]], int]) -> Parser:
    """Return the parser that a command makes; the command is called and stopped where it would parse."""
    token = _asked.set(True)
    try:
        command([])
    except _ParserFound as found:
        return found.parser
    finally:
        _asked.reset(token)
    raise AssertionError("a command that parses nothing has no parser")


def make_parser(name: str, description: str) -> Parser:
    """Return the parser of `slipway name`."""
    return Parser(prog=f"slipway {name}", description=description, allow_abbrev=False)


def parse(parser: Parser, arguments: list[str]) -> argparse.Namespace:
    """Return the parsed arguments; an unknown option names the nearest right one."""
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [option for action in parser._actions for option in action.option_strings]
        raise UserError(f"{parser.prog}: unknown argument {unknown[0]!r}{nearest(unknown[0].split('=')[0], known)}")
    return options

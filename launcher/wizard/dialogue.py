"""Ask a person in plain lines: print a question, read a reply, handle `back`, `?` and `quit`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ...training.common.errors import UserError
from .state import AnswerOption, Question, parse_reply, without_flag

if TYPE_CHECKING:
    from rich.console import RenderableType

T = TypeVar("T")
INTRODUCTION = "Enter takes the recommendation, `?` explains, `back` undoes, `quit` leaves; nothing is written yet."
_NO_TERMINAL = (
    "slipway wizard asks its questions in a terminal and there is none: give --yes (take every recommendation) or "
    "--answers FILE, or use `slipway config` with its flags"
)


class Back(Exception):  # noqa: N818
    """The reply `back`: return to the question before."""


class Quit(Exception):  # noqa: N818
    """The reply `quit`: leave the wizard."""


class EndOfInput(Exception):  # noqa: N818
    """The input has ended, so that no reply can come."""


class Dialogue:
    """Questions go to stderr, replies are lines of stdin.

    Nothing moves the cursor, and lines are edited by the terminal itself, so that a screen reader or a program can follow
    line by line.
    """

    def __init__(self) -> None:

        # A pipe has no width to fold to.
        self._folds = sys.stderr.isatty()
        from ...training.common.program.console import SteadyConsole

        self._console = SteadyConsole(stderr=True, highlight=False, width=None if self._folds else 200)

    @staticmethod
    def check_terminal() -> None:
        """Raise `UserError` where there is no terminal; its message names what to use instead of the conversation."""
        if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
            raise UserError(_NO_TERMINAL)

    def say(self, text: str = "", style: str = "", is_folded: bool = True) -> None:
        """Print a line; brackets are no markup. One that is not folded can be copied from the terminal."""
        from rich.text import Text

        self._console.print(Text(text, style=style), soft_wrap=not (is_folded and self._folds))

    def warn(self, text: str, kind: str = "warning") -> None:
        """Print a warning or a note."""
        from rich.text import Text

        self._console.print(Text.assemble((f"{kind}: ", "bold yellow"), text), soft_wrap=not self._folds)

    def show(self, part: RenderableType) -> None:
        """Print a rich renderable, such as a table."""
        self._console.print(part)

    def ask(self, question: Question, options: Sequence[AnswerOption], accept: Callable[[Any], T], first: bool) -> T:
        """Ask until `accept` takes the value of the reply; return the result of `accept`.

        A `UserError` of the reply or of `accept` is printed and the question is asked again. Raises `Back`, `Quit` and
        `EndOfInput`.
        """
        self._draw(question, options)
        prompt = _prompt(question, options)
        while True:
            reply = self._reply(prompt)
            if reply in ("?", "help"):
                self.say(f"{question.explanation} {INTRODUCTION}")
            elif reply == "back" and first:
                self.say("This is the first question.")
            else:
                try:
                    _raise_on_command(reply)
                    return accept(parse_reply(question, options, reply))
                except UserError as error:
                    self.warn(without_flag(str(error)), "not possible")

    def confirm(self, prompt: str, default: bool, explanation: str) -> bool:
        """Ask for yes or no and return it. Raises `Quit` and `EndOfInput`."""
        while True:
            reply = self._reply(f"{prompt} [{'Y/n' if default else 'y/N'}]: ").lower()
            if reply in ("", "y", "yes", "n", "no"):
                return default if not reply else reply.startswith("y")
            if reply == "quit":
                raise Quit
            self.say(explanation if reply in ("?", "help") else f"{reply!r} is neither yes nor no. {explanation}")

    def _draw(self, question: Question, options: Sequence[AnswerOption]) -> None:
        from rich.table import Table
        from rich.text import Text

        self.say()
        if len(options) < 2:
            (option,) = options or (None,)
            title = Text(question.title, style="bold")
            self._console.print(title + Text(f": {option.label} (recommended), {option.meaning}" if option else ""))
            return
        self.say(question.title, "bold")
        rows = Table.grid(padding=(0, 2, 0, 0))
        number = 0
        for position, option in enumerate(options):
            number += option.possible
            mark = " (recommended)" if position == 0 else "" if option.possible else " (not possible)"
            if question.numbered:
                key, text = str(number) if option.possible else "-", f"{option.label}{mark}: {option.meaning}"
            else:
                key, text = option.label, f"{mark.strip()} {option.meaning}".strip()
            rows.add_row(f"  {key}", Text(text, style="bold" if position == 0 else ""))
        self._console.print(rows)

    def _reply(self, prompt: str) -> str:
        from rich.text import Text

        self._console.print(Text(prompt), end="")
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError:
            return "\N{REPLACEMENT CHARACTER}"
        if not line:
            raise EndOfInput
        return line.strip()


def _prompt(question: Question, options: Sequence[AnswerOption]) -> str:
    """Return the line that asks, with the meaning of Enter in brackets."""
    if question.numbered:
        count = sum(option.possible for option in options)
        other = f", or type another {question.free_text}" if question.free_text else ""
        return f"Choose 1 to {count}{other} [1]: " if count > 1 else f"Enter continues with {options[0].label}: "
    return f"{question.prompt}{f' [{options[0].label}]' if options else ''}: "


def _raise_on_command(reply: str) -> None:
    if reply == "back":
        raise Back
    if reply in ("quit", "exit"):
        raise Quit

"""Lines to a person and from one: on a terminal, in a pipe, for a screen reader."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...training.common.errors import UserError
from ...training.common.program.shown import printable

if TYPE_CHECKING:
    from rich.text import Text

_MOST_LETTERS = 4096
_UNFOLDED_WIDTH = 10_000
_UNSEEN = (
    "slipway wizard asks its questions on stderr, which is no terminal: leave the redirection out, give --yes, or use "
    "`slipway config`"
)
_CLOSED = "slipway wizard reads its answers from stdin, which is closed: give --yes, or use `slipway config`"


class Quit(Exception):  # noqa: N818
    """The reply `quit`: leave the wizard."""


class InputEndedError(UserError):
    """No reply can come any more, or none that mends the last one."""


class Dialogue:
    """Questions go to stderr, replies are lines of stdin, typed or from a pipe.

    Nothing moves the cursor, and lines are edited by the terminal itself, so that a screen reader or a program can follow
    line by line.
    """

    def __init__(self) -> None:
        from ...training.common.program.console import SteadyConsole

        self.is_typed = sys.stdin.isatty()
        # A pipe has no width to fold to, and a plain terminal, such as a screen reader's, folds by itself.
        self._is_folded = sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
        self._console = SteadyConsole(stderr=True, highlight=False, width=None if self._is_folded else _UNFOLDED_WIDTH)

    @staticmethod
    def check_streams() -> None:
        """Raise `UserError` where nobody can answer, or nobody would see the questions."""
        if sys.stdin is None or sys.stdin.closed:
            raise UserError(_CLOSED)
        if sys.stdin.isatty() and not (sys.stderr is not None and sys.stderr.isatty()):
            raise UserError(_UNSEEN)

    @property
    def width(self) -> int:
        """Columns of the terminal; very many in a pipe."""
        return self._console.width

    def say(self, text: str = "", style: str = "") -> None:
        """Print a line; brackets are no markup."""
        from rich.text import Text

        self._console.print(Text(text, style=style))

    def say_whole(self, text: str) -> None:
        """Print a line that can be copied from the terminal: it is not folded."""
        from rich.text import Text

        self._console.print(Text(text), soft_wrap=True)

    def warn(self, text: str, kind: str = "warning") -> None:
        """Print a warning or a note."""
        from rich.text import Text

        self._print_hanging(Text.assemble((f"{kind}: ", "bold yellow"), text), "  ")

    def item(self, key: str, name: str, text: str, costs: str = "", *, name_width: int = 0) -> None:
        """Print a line of a list: its number, its name, its text and its costs; what does not fit is folded under the text."""
        from rich.text import Text

        before = f"  {key}  " if key else "     "
        shown = name.ljust(name_width)
        line = Text.assemble((before, "bold"), (shown, "bold"), "  " if name else "", text)
        if costs:
            line.append(f"; {costs}" if text else costs, style="dim")
        self._print_hanging(line, " " * (len(before) + (len(shown) + 2 if name and self.width >= 50 else 0)))

    def reply(self, prompt: str) -> str:
        """Return the next line of the input without blanks around it.

        Raises `Quit` for `q`, and `InputEndedError` where the input has ended.
        """
        from rich.text import Text

        self._console.print(Text(prompt, style="bold"), end=" ", soft_wrap=not self._is_folded)
        try:
            line = sys.stdin.readline(_MOST_LETTERS)
        except UnicodeDecodeError:
            line = "\N{REPLACEMENT CHARACTER}\n"
        if not line or not self.is_typed:
            self.say(printable(line.strip()))  # a terminal shows what is typed, a pipe does not
        if not line:
            raise InputEndedError(
                f"the input ended at the question `{re.split('[;,:]', prompt)[0]}`; give a line for each question, "
                "an empty one is Enter, or --yes"
            )
        reply = line.strip()
        if reply.lower() in ("q", "quit", "exit"):
            raise Quit
        return reply

    def refuse(self, reply: str, error: UserError, words: str) -> None:
        """Print why a reply is no answer. Raises `InputEndedError` where nobody is there to give another."""
        if not self.is_typed:
            raise InputEndedError(
                f"the input's answer {reply[:80]!r} cannot be: {words}", option=error.option
            ) from None
        self.warn(words, "not possible")

    def _print_hanging(self, line: Text, indent: str) -> None:
        """Print a line whose folded rest stands under its text."""
        lines: Sequence[Text] = [line]
        if self._is_folded and line.cell_len > self.width:
            first, *rest = line.wrap(self._console, self.width)
            behind = line[len(first.plain) :]
            behind = behind[len(behind.plain) - len(behind.plain.lstrip()) :]
            room = max(20, self.width - len(indent))
            lines = (
                [first, *(type(line).assemble(indent, one) for one in behind.wrap(self._console, room))]
                if rest
                else lines
            )
        for one in lines:
            one.rstrip()
            self._console.print(one, soft_wrap=True)

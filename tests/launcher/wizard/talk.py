"""Somebody who answers the wizard, without a terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from slipway.launcher import cli
from tests.launcher.machines import FOLDER


def of(name: str) -> list[str]:
    """Return the options that name a recorded machine."""
    return ["--hardware", str(FOLDER / f"{name}.json")]


@dataclass(frozen=True, kw_only=True)
class Talk:
    """What came of a conversation."""

    code: int
    said: str  # on stderr
    told: str  # on stdout

    @property
    def same(self) -> list[str]:
        """The words after `slipway` of the command that does the same without questions."""
        (line,) = [one for one in self.said.splitlines() if one.startswith("The same without questions: ")]
        return line.removeprefix("The same without questions: slipway ").split(" ")


class _Typed(io.StringIO):
    def isatty(self) -> bool:
        return True

    def readline(self, size: int | None = -1) -> str:  # type: ignore[override]
        """Return the next line, which a terminal shows."""
        line = super().readline(size)
        print(line, end="", file=sys.stderr)
        return line


class Talker:
    """Calls the wizard with replies, in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, replies: Sequence[str], *options: str, typed: bool = False) -> Talk:
        text = "".join(f"{one}\n" for one in replies)
        with self._monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", _Typed(text) if typed else io.StringIO(text))
            if typed:
                patched.setattr(sys.stderr, "isatty", lambda: True)
                patched.setenv("COLUMNS", "400")
            code = cli.main(["wizard", *options])
        out, error = self._capsys.readouterr()
        return Talk(code=code, said=error, told=out)

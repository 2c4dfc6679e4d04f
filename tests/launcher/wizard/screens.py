"""The screens of docs/wizard.md, each of a real call: `python -m tests.launcher.wizard.screens` writes them anew."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from slipway.launcher import cli
from slipway.launcher.plan.accelerate import config as accelerate_config
from slipway.launcher.wizard import conversation
from slipway.launcher.wizard.model import ModelNeeds
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "wizard.md"
EIGHT = ("--machine", "8 x H100, 64 cores, 512 GB")
_COUNTED = ModelNeeds(
    parameters=1_540_000_000,
    base_batch_size=16,
    is_batch_scaled=True,
    flops_per_sample=9.5e12,
    launches_per_pass=4200,
    bytes_per_sample=1.2e10,
    bytes_per_pass=2.5e10,
)


@dataclass(frozen=True, kw_only=True)
class Screen:
    """A conversation: the options, the replies, the columns of the terminal."""

    options: Sequence[str]
    replies: Sequence[str]
    columns: int = 80


SCREENS = {
    "two keys": Screen(options=(*EIGHT, "--script", "mine.py"), replies=("", "")),
    "three changes": Screen(
        options=(*EIGHT, "--task", "my.py:make_task"), replies=("2 0-3", "5", "", "yes", "6 512", "", "3")
    ),
    "what cannot be": Screen(
        options=("--machine", "2 x T4, 16 cores, 64 GB", "--script", "mine.py"),
        replies=("5", "-", "back", "4 7e99", "3 2", "70B", "back", "2 0,5", "q"),
    ),
    "60 columns": Screen(options=(*EIGHT, "--script", "mine.py"), replies=("4 7B", "4", "", "", "", "4"), columns=60),
    "200 columns": Screen(options=(*EIGHT, "--task", "my.py:make_task"), replies=("2", "", "", "", "4"), columns=200),
}


class _Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True

    def readline(self, size: int | None = -1) -> str:  # type: ignore[override]
        """Return the next line, which a terminal shows."""
        line = super().readline(size)
        sys.stderr.write(line)
        return line


class _Glass(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(screen: Screen) -> str:
    """Return what a terminal shows of a conversation, without styles."""
    glass = _Glass()
    with _in_empty_folder(), patch.dict(os.environ, {"TERM": "xterm", "COLUMNS": str(screen.columns), "LINES": "100"}):
        replies = "".join(f"{one}\n" for one in screen.replies)
        with (
            patch.object(sys, "stdin", _Keyboard(replies)),
            patch.object(sys, "stderr", glass),
            patch.object(sys, "stdout", glass),
            patch.object(accelerate_config, "check_config", lambda path, plan: []),
            patch.object(conversation, "ask_model", lambda words: _COUNTED),
        ):
            cli.main(["wizard", *screen.options])
    text = re.sub(r"\x1b\[[0-9;]*m", "", glass.getvalue()).replace(os.path.dirname(os.path.realpath(cli.__file__)), "")
    return "\n".join(line.rstrip() for line in text.splitlines())


@contextmanager
def _in_empty_folder() -> Iterator[None]:
    before = Path.cwd()
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("bin").symlink_to(ROOT / "bin")  # as in a clone
        try:
            yield
        finally:
            os.chdir(before)


def page() -> str:
    """Return docs/wizard.md with the screens as they are now."""
    text = PAGE.read_text(encoding="utf-8")
    for name, screen in SCREENS.items():
        words = " ".join(f'"{one}"' if " " in one else one for one in screen.options)
        block = f"<!-- not run: screen, {name} -->\n```console\n$ slipway wizard {words}\n{shown(screen)}\n```\n"
        pattern = rf"<!-- not run: screen, {name} -->\n```console\n.*?\n```\n"
        text, count = re.subn(pattern, lambda _, block=block: block, text, flags=re.DOTALL)  # type: ignore[misc]
        assert count == 1, name
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

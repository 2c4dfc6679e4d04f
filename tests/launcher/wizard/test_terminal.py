"""The wizard in a real terminal: somebody types, and reads what comes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.launcher.wizard.talk import of
from tests.limits import HANG_SECONDS

pexpect = pytest.importorskip("pexpect")

WIZARD = [sys.executable, str(ROOT / "bin" / "wizard.py")]
FIRST = "? explains:"
LAST = "another path:"
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Typist:
    """Somebody at the terminal, who answers prompts and remembers the screen."""

    def __init__(self, folder: Path, arguments: list[str], columns: int, variables: dict[str, str]) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        environment: Any = {**kept, "TERM": "xterm-256color", **variables}
        self.screen = ""
        self.child = pexpect.spawn(
            WIZARD[0],
            [*WIZARD[1:], *arguments],
            cwd=str(folder),
            env=environment,
            encoding="utf-8",
            timeout=HANG_SECONDS,
            dimensions=(60, columns),
        )

    def wait(self, prompt: str) -> None:
        """Wait for the end of a prompt, which may be folded."""
        self.child.expect(r"(?:\s|\x1b\[[0-9;]*m)+".join(map(re.escape, prompt.split())))
        self.screen += self.child.before + self.child.after

    def reply(self, prompt: str, text: str = "") -> None:
        """Wait for the end of a prompt and type a line."""
        self.wait(prompt)
        self.child.sendline(text)

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        self.child.expect(pexpect.EOF)
        self.screen += self.child.before
        self.child.close()
        assert self.child.exitstatus is not None
        return int(self.child.exitstatus)

    @property
    def lines(self) -> list[str]:
        """The lines of the screen, without styles."""
        return _STYLE.sub("", self.screen).replace("\r\n", "\n").splitlines()


@pytest.fixture
def sit_down(tmp_path: Path) -> Iterator[Callable[..., Typist]]:
    """Return what starts the wizard in an empty folder; nothing of it is left running."""
    typists: list[Typist] = []

    def start(*arguments: str, columns: int = 80, **variables: str) -> Typist:
        typists.append(Typist(tmp_path, list(arguments), columns, variables))
        return typists[-1]

    yield start
    for typist in typists:
        typist.child.close(force=True)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_the_first_screen_fits_it(
    columns: int, sit_down: Callable[..., Typist], tmp_path: Path
) -> None:
    typist = sit_down(*of("8xh100"), columns=columns)
    typist.reply(FIRST)
    assert len(typist.lines) <= 20
    typist.reply(LAST, "4")
    assert typist.end() == 0
    told = [line for line in typist.lines if not line.startswith("The same without questions")]  # to be copied whole
    assert [line for line in told if len(line) > columns] == []
    assert files(tmp_path) == []


def test_two_keys_write_a_file_that_accelerate_reads(sit_down: Callable[..., Typist], tmp_path: Path) -> None:
    typist = sit_down("--device", "cpu")
    typist.reply(FIRST)
    typist.reply(LAST)
    assert typist.end() == 0
    assert files(tmp_path) == ["accelerate_configs/cpu.yaml"]
    assert yaml.safe_load((tmp_path / "accelerate_configs/cpu.yaml").read_text("utf-8"))["distributed_type"] == "NO"


def test_train_now_runs_the_script_and_ends_with_its_code(sit_down: Callable[..., Typist], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import sys\nprint('my', *sys.argv[1:])\nsys.exit(7)\n", encoding="utf-8")
    typist = sit_down("--device", "cpu", "--script", "mine.py arguments", columns=200)
    typist.reply(FIRST)
    typist.reply(LAST, "2")
    assert typist.end() == 7
    assert "my arguments" in typist.lines


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_screen_reader_gets_plain_lines(plain: dict[str, str], sit_down: Callable[..., Typist]) -> None:
    typist = sit_down(*of("8xh100"), columns=200, **plain)
    typist.reply(FIRST, "5")
    typist.reply("name:", "fp16")
    typist.reply("name:")
    typist.reply(FIRST, "q")
    assert typist.end() == 1
    assert not re.search(r"\x1b\[[0-9;]*[A-LN-Z]", typist.screen)  # nothing moves the cursor
    assert not re.search(r"\x1b\[(3|4|9)", typist.screen)  # no colour
    if "TERM" in plain:
        assert "\x1b" not in typist.screen


@pytest.mark.parametrize("replies", [(), ("5",), ("",)])
@pytest.mark.parametrize(("key", "code"), [("sendintr", 130), ("sendeof", 2)])
def test_ctrl_c_and_ctrl_d_leave_nothing_at_any_question(
    replies: tuple[str, ...], key: str, code: int, sit_down: Callable[..., Typist], tmp_path: Path
) -> None:
    typist = sit_down(*of("8xh100"), columns=200)
    for reply in replies:
        typist.reply(FIRST, reply)
    typist.wait({(): FIRST, ("5",): "name:", ("",): LAST}[replies])
    getattr(typist.child, key)()
    assert typist.end() == code
    last = typist.lines[-1]
    assert (
        last == "stopped: nothing was written"
        if code == 130
        else last.startswith("error: the input ended at the question")
    )
    assert "Traceback" not in typist.screen
    assert files(tmp_path) == []


def test_ctrl_c_while_accelerate_reads_the_file_leaves_nothing(sit_down: Callable[..., Typist], tmp_path: Path) -> None:
    typist = sit_down(*of("t4"), "--yes")
    typist.wait("Accelerate reads it ...")
    typist.child.sendintr()
    assert (typist.end(), typist.lines[-1]) == (130, "stopped: nothing was written")
    assert files(tmp_path) == []

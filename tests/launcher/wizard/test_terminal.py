"""The wizard in a real terminal: somebody types, and reads what comes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway.launcher.common.paths import TRAIN_SCRIPT
from slipway.launcher.wizard.answers import read_answers
from tests.conftest import ROOT
from tests.launcher.machines import FOLDER
from tests.limits import HANG_SECONDS

pexpect = pytest.importorskip("pexpect")

OWN = "[Slipway's own training]"
WIZARD = [sys.executable, str(ROOT / "bin" / "wizard.py")]
# Wide, so that no line is folded; dumb, so that no style stands between the words.
TERMINAL = {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "400", "LINES": "50"}


def of(name: str) -> list[str]:
    return ["--hardware", str(FOLDER / f"{name}.json")]


class Typist:
    """Somebody at the terminal, who answers prompts and remembers the screen."""

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        environment: Any = {**os.environ, **TERMINAL}
        self.child = pexpect.spawn(
            WIZARD[0],
            [*WIZARD[1:], *arguments],
            cwd=str(folder),
            env=environment,
            encoding="utf-8",
            timeout=HANG_SECONDS,
            dimensions=(50, 400),
        )

    def reply(self, prompt: str, text: str = "") -> str:
        """Wait for a prompt, type a line; return what came before the prompt."""
        self.child.expect_exact(f"{prompt}: ")
        self.child.sendline(text)
        return str(self.child.before).replace("\r\n", "\n")

    def end(self) -> tuple[str, int]:
        """Wait for the end; return what came, and the exit code."""
        self.child.expect(pexpect.EOF)
        self.child.close()
        assert self.child.exitstatus is not None
        return str(self.child.before).replace("\r\n", "\n"), int(self.child.exitstatus)


@pytest.fixture
def sit_down(tmp_path: Path) -> Iterator[Callable[..., Typist]]:
    """Return what starts the wizard in an empty folder; nothing of it is left running."""
    typists: list[Typist] = []

    def start(*arguments: str) -> Typist:
        typists.append(Typist(tmp_path, list(arguments)))
        return typists[-1]

    yield start
    for typist in typists:
        typist.child.close(force=True)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_enter_takes_every_recommendation_and_the_launch_runs_the_script(
    sit_down: Callable[..., Typist], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("import sys\nprint('my', *sys.argv[1:])\nsys.exit(7)\n", encoding="utf-8")
    typist = sit_down("--device", "cpu", "--num-processes", "1", "--save-answers", "a.yaml")
    machine = typist.reply("Script and its arguments [Slipway's own training]", "mine.py arguments")
    assert "usable CPUs" in machine
    assert "fixed by you: device cpu, num_processes 1" in machine
    typist.reply("[1]")  # precision
    typist.reply("[left open]")
    typist.reply("[left open]")
    typist.reply("[1]")  # compile
    plan = typist.reply("or type another path [1]")
    assert re.search(r"num_processes +1 \(you\)", plan)
    command = typist.reply("Run the self-test [Y/n]", "n")
    assert "accelerate launch --config_file accelerate_configs/cpu.yaml mine.py arguments\n" in command
    assert "slipway launch --device cpu --num-processes 1 mine.py arguments\n" in command
    assert yaml.safe_load((tmp_path / "accelerate_configs/cpu.yaml").read_text("utf-8"))["distributed_type"] == "NO"
    typist.reply("Launch mine.py now [y/N]", "y")
    said, code = typist.end()
    assert "my arguments\n" in said
    assert code == 7
    assert read_answers(str(tmp_path / "a.yaml")) == {
        "device": "cpu",
        "num_processes": 1,
        "script": "mine.py arguments",
        "write": True,
        "self_test": False,
        "launch": True,
    }


def test_processes_and_precision_are_changed_and_no_file_is_written(
    sit_down: Callable[..., Typist], tmp_path: Path
) -> None:
    typist = sit_down(*of("8xh100"))
    typist.reply(OWN)
    typist.reply("[1]")  # device
    assert "  4  4 of 8 devices stay free" in typist.reply("[8]", "4")
    typist.reply("Choose 1 to 4 [1]", "fp16")
    typist.reply("[left open]", "300k")
    typist.reply("Choose 1 to 4 [1]")  # sharding
    typist.reply("Samples of a step [left open]", "30")
    uneven = typist.reply("[the complete share]", "4")
    assert "note: 30 samples on 4 processes are uneven shares: 2 with 8, 2 with 7." in uneven
    told = typist.reply("Choose 1 to 2 [1]", "yes")
    assert "--batch-size 30 --batch-rule fixed --micro-batch-size 4" in told
    plan = typist.reply("or type another path [1]", "no file")
    for row in (r"num_processes +4 \(you\)", r"mixed_precision +fp16 \(you\)", r"compile +yes \(you\)"):
        assert re.search(row, plan)
    said, code = typist.end()
    flags = "--num-processes 4 --mixed-precision fp16 --parameters 300000 --compile --global-batch-size 30"
    script = f"{TRAIN_SCRIPT} --batch-size 30 --batch-rule fixed --micro-batch-size 4"
    assert f"slipway launch {flags} --micro-batch-size 4 {script}\n" in said
    assert code == 0
    assert files(tmp_path) == []


def test_what_cannot_work_is_said_at_once_and_asked_again(sit_down: Callable[..., Typist], tmp_path: Path) -> None:
    typist = sit_down(*of("2xrtx4090"))
    typist.reply(OWN)
    typist.reply("[1]")
    typist.reply("[2]", "3")
    refused = typist.reply("[2]", "two")
    assert "not possible: 3 processes, but 2 cuda devices (2 x NVIDIA GeForce RTX 4090)" in refused
    assert "not possible: 'two' is not a whole number" in typist.reply("[2]")
    assert "Precision" in typist.reply("[1]", "quit")
    assert typist.end() == ("quit\nleft: nothing was written\n", 1)
    assert files(tmp_path) == []


def test_what_works_badly_is_warned_of_and_back_undoes_it(sit_down: Callable[..., Typist]) -> None:
    typist = sit_down(*of("t4"))
    assert "This is the first question." in typist.reply(OWN, "back") + typist.reply(OWN)
    typist.reply("[1]", "?")
    assert "The kind of device that computes the model." in typist.reply("[1]")
    typist.reply("Choose 1 to 3 [1]", "bf16")
    assert "warning: Tesla T4 has no native bf16" in typist.reply("[left open]", "back")
    assert "1  fp16 (recommended)" in typist.reply("Choose 1 to 3 [1]")
    for prompt in ("[left open]", "[left open]", "[1]"):
        typist.reply(prompt)
    plan = typist.reply("path [1]", "back")
    assert re.search(r"mixed_precision +fp16 +every device", plan)
    assert "warning" not in plan
    assert "Compile the model" in typist.reply("[1]", "2")
    assert re.search(r"compile +yes \(you\)", typist.reply("path [1]", "quit"))
    assert typist.end()[1] == 1


def test_a_file_that_is_there_is_kept_unless_chosen(sit_down: Callable[..., Typist], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("mine\n", encoding="utf-8")
    typist = sit_down(*of("t4"))
    for prompt in (OWN, "[1]", "[1]", "[left open]", "[left open]", "[1]"):
        typist.reply(prompt)
    typist.reply("another path [1]", "c.yaml")
    offered = typist.reply("another path [1]", "/proc/nowhere/c.yaml")
    assert "1  c_2.yaml (recommended): c.yaml holds something else and is kept" in offered
    assert "2  overwrite: c.yaml is replaced" in offered
    assert "not possible: /proc/nowhere/c.yaml: " in typist.reply("another path [1]", "quit")
    assert typist.end()[1] == 1
    assert (tmp_path / "c.yaml").read_text(encoding="utf-8") == "mine\n"
    assert files(tmp_path) == ["c.yaml"]


def test_ctrl_c_leaves_nothing(sit_down: Callable[..., Typist], tmp_path: Path) -> None:
    typist = sit_down("--device", "cpu")
    typist.reply(OWN)
    typist.child.expect_exact("[1]: ")
    typist.child.sendintr()
    said, code = typist.end()
    assert (said.splitlines()[-1], code) == ("stopped: nothing was written", 130)
    assert "Traceback" not in said
    assert files(tmp_path) == []


def test_ctrl_c_while_accelerate_reads_the_file_leaves_nothing(sit_down: Callable[..., Typist], tmp_path: Path) -> None:
    typist = sit_down(*of("t4"), "--yes")
    typist.child.expect_exact("Accelerate reads it back ...")
    typist.child.sendintr()
    said, code = typist.end()
    assert (said.splitlines()[-1], code) == ("stopped: nothing was written", 130)
    assert "Traceback" not in said
    assert files(tmp_path) == []


def test_the_end_of_the_input_is_one_line(sit_down: Callable[..., Typist], tmp_path: Path) -> None:
    typist = sit_down("--device", "cpu")
    typist.reply(OWN)
    typist.child.expect_exact("[1]: ")
    typist.child.sendeof()
    said, code = typist.end()
    assert said.strip() == "error: the input ended before the last question: nothing was written"
    assert code == 2
    assert files(tmp_path) == []


def test_a_pipe_is_told_which_flags_replace_the_terminal(tmp_path: Path) -> None:
    done = subprocess.run(WIZARD, cwd=tmp_path, input="\n" * 20, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: .*--yes .*--answers FILE.*`slipway config`.*\n", done.stderr)
    assert files(tmp_path) == []

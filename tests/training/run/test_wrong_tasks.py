"""What is wrong in a task of one's own is told in one sentence, with exit code 2, before the first step.

The sentences stand in `golden_messages.txt`, a line `key: message` each. `UPDATE_GOLDEN=1 python -m pytest -n 0 THIS_FILE`
writes them; read the difference before you commit it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from slipway import UserError
from slipway.training.common.errors import EXIT_BAD_INPUT
from slipway.training.run.cli import main
from tests.training.run.wrong_tasks import WRONG, Steps

FILE = Path(__file__).with_name("golden_messages.txt")

LONGEST = 420

FLAGS = {
    "flag.lr": "--lr 0.1",
    "flag.device": "--device gpu",
    "flag.num_processes": "--num_processes 2",
    "flag.nproc": "--nproc_per_node=2",
    "flag.bs": "--bs 32",
    "flag.max_epochs": "--max_epochs 3",
    "flag.optimizer": "--optimizer adamm",
    "flag.scheduler": "--scheduler cosine",
    "flag.schedule": "--schedule cosin",
    "flag.monitor": "--monitor macro",
    "flag.amp": "--amp",
    "flag.mixed_precision": "--mixed-precision bfloat16",
    "flag.betas": "--betas 0.9",
    "flag.word": "train",
    "flag.mistyped": "--epoch-s 3",
    "flag.number": "--epochs three",
    "flag.negative": "--batch-size -8",
}


def plain(message: str) -> str:
    """Return a message without the places of lines, which move with this file."""
    return re.sub(r"(wrong_tasks\.py, line )\d+", r"\1N", message)


@pytest.fixture
def golden() -> dict[str, str]:
    lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.is_file() else []
    return dict(line.split(": ", 1) for line in lines)


def compare(found: dict[str, str], golden: dict[str, str]) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        golden.update(found)
        FILE.write_text("".join(f"{key}: {golden[key]}\n" for key in sorted(golden)), encoding="utf-8")
    assert found == {key: golden.get(key) for key in found}
    for key, message in found.items():
        assert "\n" not in message, key
        assert len(message) < LONGEST, key


@pytest.mark.parametrize("group", sorted({key.split(".")[0] for key in WRONG}))
def test_a_task_that_is_wrong_is_told_in_one_sentence_before_the_first_step(
    group: str, golden: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Steps, "done", 0)
    found = {}
    for key, act in WRONG.items():
        if key.startswith(f"{group}."):
            with pytest.raises(UserError) as caught:
                act()
            found[key] = plain(str(caught.value))
    assert Steps.done == 0
    compare(found, golden)


def test_a_wrong_option_of_the_command_line_is_told_with_the_right_one(
    golden: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["bin/train.py"])
    found = {}
    for key, flags in FLAGS.items():
        assert main(["--quick-test", *flags.split()]) == EXIT_BAD_INPUT, key
        found[key] = capfd.readouterr().err.strip()
    compare(found, golden)


def test_the_file_of_sentences_is_in_order_and_has_none_too_many(golden: dict[str, str]) -> None:
    assert list(golden) == sorted([*WRONG, *FLAGS])

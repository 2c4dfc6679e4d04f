"""Launch lines as people write them: each error ends with the command to write."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from slipway.launcher.launch.command import main
from slipway.training.common.errors import UserError
from slipway.training.run.cli import parse_config


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with a script and a config."""
    (tmp_path / "train.py").touch()
    (tmp_path / "c.yaml").write_text("num_workers: 1\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(Path("slipway/bin/train.py"))])


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("--compile true train.py", "--compile train.py"),
        ("--compile=False train.py", "--no-compile train.py"),
        ("torchrun --standalone --nproc_per_node 2 train.py", "--num-processes 2 train.py"),
        ("python train.py --epochs 3", "train.py --epochs 3"),
        ("python -m torch.distributed.launch --use_env --nproc_per_node=2 train.py", "--num-processes 2 train.py"),
        ("accelerate launch --multi_gpu --mixed_precision bf16 train.py -x", "--mixed-precision bf16 train.py -x"),
        ("--epochs 3 train.py", "train.py --epochs 3"),
        ("\u2013-num-processes 2 train.py", "--num-processes 2 train.py"),
    ],
)
def test_a_wrong_line_of_a_launch_gets_the_right_one(line: str, right: str) -> None:
    with pytest.raises(UserError) as raised:
        main(line.split(" "))
    assert str(raised.value).split("; write: ")[1] == f"slipway launch {right}"


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("--num_processes 2 --epochs 3", "slipway launch --num-processes 2 {script} --epochs 3"),
        ("--epochs 3 --nproc_per_node=2", "slipway launch --num-processes 2 {script} --epochs 3"),
        ("--compile true", "slipway train --compile"),
        ("--compile=false --epochs 3", "slipway train --no-compile --epochs 3"),
        ("train.py --lr 3", "slipway launch train.py --lr 3"),
        ("\u2014epochs 3", "slipway train --epochs 3"),
    ],
)
def test_a_wrong_line_of_a_training_gets_the_right_one(line: str, right: str) -> None:
    with pytest.raises(UserError) as raised:
        parse_config(line.split(" "), {})
    assert str(raised.value).split("; write: ")[1] == right.format(script=os.path.join("slipway", "bin", "train.py"))


def test_a_blank_after_a_backslash_is_told() -> None:
    with pytest.raises(UserError, match="a blank follows the backslash at the end of a line"):
        main(["--num-processes", "2", " "])
    with pytest.raises(UserError, match=r"a blank follows the backslash .* write: slipway train --epochs 3$"):
        parse_config(["--epochs", "3", " "], {})


@pytest.mark.parametrize("line", ["--num-proceses 2 train.py", "missing.py", "--device gpu train.py"])
def test_a_mistake_of_another_kind_gets_no_guess(line: str) -> None:
    with pytest.raises(UserError) as raised:
        main(line.split(" "))
    assert "write: " not in str(raised.value)

"""The commands as a user types them: what they print, and their exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from slipway.launcher import cli
from tests.conftest import ROOT
from tests.limits import HANG_SECONDS

BARE = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in BARE and not name.startswith("SLIPWAY_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**kept, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )


def test_help_lists_the_options_without_loading_torch() -> None:
    done = run("-X", "importtime", "bin/train.py", "--help")
    assert done.returncode == 0
    assert "usage: train.py" in done.stdout
    assert "--no-data-parallel" in done.stdout
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "slipway.training.run.training_config" in loaded
    assert "torch" not in loaded


@pytest.mark.parametrize("start", [("bin/train.py",), ("-m", "slipway.training")])
def test_a_typo_is_one_line_with_the_nearest_option_and_exit_code_2(start: tuple[str, ...]) -> None:
    done = run(*start, "--epoch", "3")
    assert done.returncode == 2
    assert done.stderr == "error: unknown option --epoch (did you mean '--epochs'?)\n"
    assert done.stdout == ""


def test_a_rank_that_belongs_to_no_world_says_what_is_wrong(tmp_path: Path) -> None:
    done = run("bin/train.py", "--runs-dir", str(tmp_path), RANK="1")
    assert done.returncode == 2
    assert (
        done.stderr
        == "error: RANK=1 is not below WORLD_SIZE=1; fix the launcher, or unset RANK where another launch has left it\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_example_has_help() -> None:
    done = run("bin/example_multi_gpu.py", "--help")
    assert done.returncode == 0
    assert "--tips" in done.stdout


def test_slipway_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == version("slipway") + "\n"


@pytest.mark.parametrize("arguments", [["nonsense"], []])
def test_slipway_refuses_what_it_does_not_know_with_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: unknown command 'nonsense'" if arguments else "error: no command")
    assert "slipway" in told.err


def test_slipway_train_is_bin_train_under_its_own_name() -> None:
    done = run("-m", "slipway", "train", "--epoch", "3")
    assert done.returncode == 2
    assert done.stderr == "error: unknown option --epoch (did you mean '--epochs'?)\n"
    assert run("-m", "slipway", "train", "--help").stdout.startswith("usage: slipway train ")

"""A script of the user's own that reads its command line with one line: settings of all levels, its own options, its end."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slipway import TrainingConfig, UserError
from tests.conftest import ROOT
from tests.limits import HANG_SECONDS

SCRIPT = """
import argparse, os, signal
import torch
from torch import nn
from slipway import Observer, TensorTask, TrainingConfig, train


class Stopping(Observer):
    def on_step(self, event):
        if str(event.step) == os.environ.get("STOP_AT"):
            os.kill(os.getpid(), signal.SIGTERM)


parser = argparse.ArgumentParser()
parser.add_argument("--width", type=int, default=8)
config, own = TrainingConfig.from_command_line(parser, epochs=4, stages_config="minimal", seed=3, log_level="error")
inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
labels = (inputs[:, 0] > 0).long()
model = lambda: nn.Sequential(nn.Linear(6, own.width), nn.Linear(own.width, 2))
train(config, TensorTask(model, {"train": (inputs, labels), "validation": (inputs, labels)}), observers=[Stopping()])
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project's folder, which is the working folder of a script `first.py`."""
    (tmp_path / "first.py").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "first.py")])
    return tmp_path


def command(project: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
    return subprocess.run(
        [sys.executable, *words],
        cwd=project,
        env=variables,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )


def test_what_the_script_says_is_above_the_defaults_and_below_everything_else(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "slipway.yaml").write_text("train: {batch_size: 16, patience: 2}")
    monkeypatch.delenv("SLIPWAY_REPORT")
    monkeypatch.setenv("SLIPWAY_SEED", "5")
    config = TrainingConfig.from_command_line(
        arguments=["--", "--max-steps", "9"], epochs=20, batch_size=64, seed=1, max_steps=3, patience=1
    )
    assert (config.epochs, config.batch_size, config.seed, config.max_steps) == (20, 16, 5, 9)
    origins = {name: str(setting) for name, setting in (config.settings or {}).items()}
    assert origins == {
        "epochs": "script first.py",
        "batch_size": "project file slipway.yaml",
        "patience": "project file slipway.yaml",
        "seed": "environment SLIPWAY_SEED",
        "max_steps": "flag",
    }


def test_a_changed_copy_of_the_config_keeps_the_other_origins(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLIPWAY_REPORT")
    config = TrainingConfig.from_command_line(arguments=["--seed", "4", "--keep", "5"], epochs=20)
    copy = dataclasses.replace(config, seed=0, patience=1)
    assert {name: str(setting) for name, setting in (copy.settings or {}).items()} == {
        "seed": "user",
        "patience": "user",
        "keep": "flag",
        "epochs": "script first.py",
    }
    assert TrainingConfig(seed=4).settings is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epoch", "3"], "error: unknown option --epoch (did you mean '--epochs'?)\n"),
        (["--epochs", "many"], "error: --epochs: expected a whole number, got 'many'\n"),
        (["here"], "error: unexpected argument 'here': every option starts with --\n"),
        (["--batch-size", "0"], "error: --batch-size: must be at least 1, got 0\n"),
    ],
)
def test_a_wrong_flag_ends_the_script_with_one_line_and_exit_code_2(
    project: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        TrainingConfig.from_command_line(arguments=arguments)
    assert (end.value.code, *capsys.readouterr()) == (2, "", message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch": 3}, "error: first.py: unknown key 'epoch' (did you mean 'epochs'?)\n"),
        ({"epochs": 0}, "error: first.py: --epochs: must be at least 1, got 0\n"),
    ],
)
def test_what_the_script_says_wrong_is_told_with_its_name(
    project: Path, options: dict[str, int], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        TrainingConfig.from_command_line(arguments=[], **options)
    assert capsys.readouterr().err == message


def test_help_and_explain_show_what_the_script_says(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flag, shown in (("--help", "[20, says the script]"), ("--explain", "script first.py")):
        with pytest.raises(SystemExit) as end:
            TrainingConfig.from_command_line(arguments=[flag], epochs=20)
        assert not end.value.code
        assert shown in capsys.readouterr().out


def test_options_of_the_scripts_own_stand_beside_slipways(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser(description="Count sheep.")
    parser.add_argument("kind")
    parser.add_argument("--data", default="wool")  # an option of sign recognition too: it is the script's
    parser.add_argument("--width", type=int)
    parser.set_defaults(answer=42)
    config, own = TrainingConfig.from_command_line(
        parser, arguments=["black", "--width", "3", "--epochs", "2", "--data", "here"]
    )
    assert own == argparse.Namespace(kind="black", width=3, data="here", answer=42)
    assert (config.epochs, config.data) == (2, TrainingConfig().data)
    with pytest.raises(SystemExit):
        TrainingConfig.from_command_line(parser, arguments=["--help"])
    shown = capsys.readouterr().out
    assert "Count sheep." in shown
    assert "--width" in shown
    assert "--epochs" in shown


@pytest.mark.parametrize("flag", ["--seed", "--explain", "--no-compile"])
def test_an_option_that_slipway_has_too_is_refused_in_the_scripts_parser(
    project: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(flag, action="store_true")
    with pytest.raises(SystemExit) as end:
        TrainingConfig.from_command_line(parser, arguments=[])
    assert end.value.code == 2
    assert "which Slipway has too: take it out of the parser" in capsys.readouterr().err


def test_in_a_notebook_the_kernels_arguments_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/lib/ipykernel_launcher.py", "-f", "kernel.json"])
    assert TrainingConfig.from_command_line(epochs=3).epochs == 3


def test_an_error_that_a_script_does_not_catch_is_one_line_unless_a_traceback_is_asked_for(project: Path) -> None:
    (project / "bad.py").write_text("import slipway\nslipway.TrainingConfig(epochs=0)\n")
    message = "error: --epochs: must be at least 1, got 0\n"
    for words in (["bad.py"], ["-m", "slipway", "launch", "--device", "cpu", "--num-processes", "1", "bad.py"]):
        done = command(project, *words)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert message in done.stderr
    done = command(project, "bad.py", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert issubclass(UserError, Exception)


def test_a_stopped_script_exits_with_75_and_is_resumed_by_its_own_words_with_what_the_run_was_told(
    project: Path,
) -> None:
    words = ["--width", "5", "--seed", "8", "--batch-rule", "fixed", "--device", "cpu"]
    done = command(project, "first.py", *words, STOP_AT="5")
    assert done.returncode == 75, done.stderr
    record = project / "runs" / "tensors-minimal" / "run.json"
    started = json.loads(record.read_text())
    assert (started["state"], started["origins"]["epochs"]) == ("interrupted", "script first.py")
    assert started["origins"]["seed"] == "flag"
    # By now the script and the project say otherwise.
    (project / "first.py").write_text(SCRIPT.replace("epochs=4", "epochs=90"))
    (project / "slipway.yaml").write_text("train: {seed: 1}")
    done = command(project, "-m", "slipway", "resume", "tensors-minimal", "--num-processes", "2")
    assert done.returncode == 0, done.stderr
    ended = json.loads(record.read_text())
    assert (ended["state"], ended["world_size"], ended["result"]["steps"]) == ("finished", 2, 8)
    assert (ended["config"]["epochs"], ended["config"]["seed"]) == (4, 8)

"""Sweeps of a task of a second: better than a bad rate, gone on with after a kill, with a table that is right."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slipway.launcher import cli
from slipway.training.observers.own_command import command_words

pytest.importorskip("optuna")

TASK = """
import torch
from torch import nn
from slipway import TensorTask

class Task(TensorTask):
    def fetch(self, split, indices):
        assert split != "test", "the test split was touched"
        return super().fetch(split, indices)

def make():
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(4, 6, generator=generator)
    def draw(count):
        labels = torch.randint(4, (count,), generator=generator)
        return centres[labels] + 0.3 * torch.randn(count, 6, generator=generator), labels
    splits = {"train": draw(96), "validation": draw(64), "test": draw(64)}
    return Task(lambda: nn.Linear(6, 4), splits)
"""
BAD_RATE = "1e-6"
EPOCHS = 40


def words(root: Path) -> list[str]:
    """Return the command: two rates of which one is bad, and the bad one is what is given."""
    return [
        *("sweep", "--sweep", f"learning_rate={BAD_RATE},0.03", "--trials", "2", "--name", "rates"),
        *("--task", f"{root / 'toy.py'}:make", "--learning-rate", BAD_RATE, "--epochs", str(EPOCHS)),
        *("--least-epochs", str(EPOCHS), "--device", "cpu", "--threads", "1", "--runs-dir", str(root / "runs")),
    ]


def test_a_sweep_that_is_killed_goes_on_and_finds_better_than_a_bad_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy.py").write_text(TASK)
    folder = tmp_path / "runs" / "rates"
    begun = subprocess.Popen(command_words(*words(tmp_path)), stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        journal = folder / "trial-0" / "events.jsonl"
        while not (journal.is_file() and '"event": "epoch"' in journal.read_text()):
            assert begun.poll() is None
            time.sleep(0.01)
    finally:
        begun.kill()
        begun.wait()
    (folder / "trials.jsonl").open("a").write('{"half a li')

    assert cli.main(words(tmp_path)) == 0

    said = capsys.readouterr().out
    assert "goes on after 1 trial: 2 trials of learning_rate=1e-06,0.03" in said
    listed = re.findall(r"^(\d)\s+([\d.]+) %\s+(\S+)\s+(\d+)\s+(.+?)\s*$", said, re.MULTILINE)
    assert sorted(row[0] for row in listed) == ["0", "1"]
    assert [float(row[1]) for row in listed] == sorted((float(row[1]) for row in listed), reverse=True)
    for number, metric, rate, epochs, state in listed:
        record = json.loads((folder / f"trial-{number}" / "run.json").read_text())
        assert not any(name.startswith("test_") for name in record["result"])
        assert (state, int(epochs), record["state"]) == ("finished", EPOCHS, "finished")
        assert float(metric) == pytest.approx(100 * record["result"]["validation_accuracy"], abs=0.051)
        assert float(rate) == record["config"]["learning_rate"]
        outcome = json.loads((folder / f"trial-{number}" / "trial.json").read_text())
        assert outcome["value"] == record["result"]["validation_accuracy"]
    (bad,) = [row for row in listed if row[0] == "0"]
    assert float(bad[2]) == float(BAD_RATE)
    assert float(listed[0][2]) == 0.03
    assert float(listed[0][1]) > float(bad[1]) + 20
    command = said.split("train with it: ")[1]
    assert command.count("--learning-rate") == 1
    assert "--learning-rate 0.03" in command
    page = (folder / "sweep.html").read_text()
    assert all(f"trial {number}" in page for number in range(2))

    other = [*words(tmp_path), "--epochs", "2"]
    assert cli.main(other) == 2
    assert "holds a sweep that trains with other options" in capsys.readouterr().err


def test_without_optuna_one_line_names_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert cli.main(["sweep"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'slipway[sweep]'" in line
    assert not os.listdir(tmp_path)

"""`slipway evaluate` as a user types it: the run's own split, other data with other classes, own tasks, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from slipway import load
from slipway.launcher import cli
from slipway.training.tasks.origin.factory import find_factory
from slipway.training.tasks.origin.spec import model_spec
from slipway.training.tasks.sign.predict import SignPredictor
from tests.results.conftest import CLASSES, Made


def evaluate(*words: object) -> int:
    return cli.main(["evaluate", *map(str, words)])


def test_the_test_split_is_measured_as_the_run_split_it_with_an_interval_over_signers(
    sign_run: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(sign_run.folder, "--split", "train", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    record = json.loads((sign_run.folder / "run.json").read_text())
    assert found["samples"] == record["data"]["samples"]["train"]
    assert (found["measures"]["unit"], found["measures"]["units"]) == ("signer", 4)
    assert found["metrics"]["accuracy"] == found["measures"]["metrics"]["accuracy"]
    low, high = found["intervals"]["accuracy"]
    assert low <= found["metrics"]["accuracy"] <= high
    assert evaluate(sign_run.folder) == 0
    shown = capsys.readouterr().out
    assert "intervals: bootstrap over" in shown
    assert "=yes\\x1b[2J" in shown
    assert "\x1b[2J" not in shown


def test_other_data_are_measured_by_the_names_of_classes_and_unknown_ones_are_left_out_and_told(
    sign_run: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names, clips = ["zebra", CLASSES[1], "a new one", CLASSES[1]], sign_run.clips[:4]
    np.savez(tmp_path / "x.npz", X=np.concatenate(clips), lengths=[len(clip) for clip in clips], y=names)
    assert evaluate(sign_run.folder, "--data", tmp_path / "x.npz", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    predictor = SignPredictor.load(sign_run.folder / "best")
    right = predictor.class_names.index(CLASSES[1])
    probabilities = predictor.probabilities([clips[1], clips[3]])
    assert found["metrics"]["loss"] == pytest.approx(-np.log(probabilities[:, right]).mean(), abs=1e-5)
    assert found["metrics"]["accuracy"] == (probabilities.argmax(axis=1) == right).mean()
    assert found["notes"] == ["2 of 4 samples left out, of classes that the run does not know: a new one, zebra"]


def test_what_cannot_be_measured_is_refused_in_one_line(
    sign_run: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "clip.npy", sign_run.clips[0])
    changed = shutil.copytree(sign_run.folder, tmp_path / "changed")
    record = json.loads((changed / "run.json").read_text())
    record["recipe"]["task"]["data_fingerprint"] = "0123"
    (changed / "run.json").write_text(json.dumps(record))
    alone = shutil.copytree(sign_run.folder / "best", tmp_path / "alone")
    for words, message in (
        ((sign_run.folder, "--data", tmp_path / "clip.npy"), "has no labels to measure by"),
        ((changed,), "so a sample that it learned from may be in the test"),
        ((alone,), "stands without its run.json"),
        ((sign_run.folder, "--data", sign_run.data, "--split", "test"), "--split: for the run's own data"),
        ((sign_run.folder, "--landmarks", "hand"), "need --data OTHER"),
    ):
        assert evaluate(*words) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]


OWN = """
import torch
from slipway import DatasetTask

def r2(outputs, targets):
    return 1 - (outputs - targets).square().sum() / (targets - targets.mean()).square().sum()

def make_sums(data: str = "first"):
    drawn = torch.Generator().manual_seed(len(data))
    inputs = torch.randn(90, 4, generator=drawn)
    samples = [(row, row.sum()[None] + torch.randn(1, generator=drawn)) for row in inputs]
    more = {"loss": torch.nn.MSELoss(), "metrics": {"r2": r2}, "name": "sums"}
    return DatasetTask(lambda: torch.nn.Linear(4, 1), samples[:50], test=samples[50:], **more)

def make_signs(data: str = "first"):
    inputs = torch.randn(90, 4, generator=torch.Generator().manual_seed(len(data)))
    samples = [(row, int(row.sum() > 0)) for row in inputs]
    names = ["<b>", "pos"]
    return DatasetTask(lambda: torch.nn.Linear(4, 2), samples[:50], test=samples[50:], name="signs", class_names=names)
"""


def own_run(folder: Path, function: str) -> tuple[Path, Any]:
    """Write a run of a task of one's own whose weights are random; return it and its task."""
    (folder / "evaluated_task.py").write_text(OWN)
    factory = find_factory(f"{folder / 'evaluated_task.py'}:{function}")
    task = factory.make(factory.bind({}, data=None, seed=0))
    torch.manual_seed(0)
    weights = folder / "run" / "best"
    weights.mkdir(parents=True)
    save_file(dict(task.build_model().state_dict()), weights / "model.safetensors")
    (weights / "spec.json").write_text(json.dumps(model_spec(task)))
    record = {"name": "run", "state": "finished", "recipe": {"task": {"data_fingerprint": task.data_fingerprint()}}}
    (weights.parent / "run.json").write_text(json.dumps(record))
    return weights.parent, task


def test_a_regression_of_ones_own_has_its_metrics_with_intervals_on_its_test_and_on_other_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, task = own_run(tmp_path, "make_sums")
    model = load(run, make_model=lambda: torch.nn.Linear(4, 1))
    inputs, targets = (
        torch.stack(part) for part in zip(*(task._sources()["test"].sample(n, 0) for n in range(40)), strict=True)
    )
    with torch.no_grad():
        wanted = float((model(inputs) - targets).square().mean())
    assert evaluate(run, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["split"], found["samples"]) == ("test", 40)
    assert found["metrics"]["loss"] == pytest.approx(wanted, rel=1e-5)
    for name in ("loss", "r2"):
        low, high = found["intervals"][name]
        assert low <= found["metrics"][name] <= high
    assert evaluate(run, "--data", "others", "--json") == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["loss"] != found["metrics"]["loss"]


def test_classes_of_ones_own_are_measured_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, _ = own_run(tmp_path, "make_signs")
    assert evaluate(run, "--split", "train") == 0
    shown = capsys.readouterr().out
    assert "train split: 50 samples" in " ".join(shown.split())
    assert "calibration error" in shown
    assert "top5" not in shown
    assert any(line.startswith("<b>") for line in shown.splitlines())

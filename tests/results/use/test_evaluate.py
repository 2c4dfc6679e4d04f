"""`slipway evaluate` as a user types it: the run's own split, other data with other classes, own tasks, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from slipway.launcher import cli
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

"""Folds and left-out signers of clips, as a study: each clip is tested once, by weights that did not see its test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.training.common.errors import UserError
from slipway.training.run.train import make_task, train
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.sign.predict import SignPredictor
from tests.training.helpers import catch

SIGNERS = ("ann", "bob", "eve")
SMALL: dict[str, Any] = {
    "device": "cpu", "stages_config": "minimal", "epochs": 1, "batch_size": 8, "model_width": 16, "model_blocks": 1,
    "log_level": "error", "experiment_name": "study", "micro_batch_size": 8, "data_cache": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def as_if_alone(training_in_this_process: None) -> None:
    """Each test may train in this process."""


def write(path: Path, labels: np.ndarray, shift: float = 0.0) -> Path:
    values = np.random.default_rng(0).normal(size=(len(labels), 4, 21, 3)).astype(np.float32) + shift
    np.savez(path, X=values, y=labels, signer=np.array(SIGNERS)[np.arange(len(labels)) // 2 % 3])
    return path


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return write(tmp_path / "clips.npz", np.arange(36) % 2)


def study(clips: Path, **options: Any) -> dict[str, Any]:
    return train(TrainingConfig(**{**SMALL, "data": str(clips), "runs_dir": str(clips.parent / "runs"), **options}))


def record_of(clips: Path, run: str = "") -> dict[str, Any]:
    return json.loads((clips.parent / "runs" / "study" / run / "run.json").read_text())


def test_folds_test_each_clip_once(clips: Path) -> None:
    result = study(clips, folds=3)
    assert [row["name"] for row in result["runs"]] == ["fold-1", "fold-2", "fold-3"]
    tested = [sum(map(sum, record_of(clips, row["name"])["result"]["test_confusion_matrix"])) for row in result["runs"]]
    assert tested == [12, 12, 12]
    accuracies = [row["test_accuracy"] for row in result["runs"]]
    assert result["mean_test_accuracy"] == pytest.approx(sum(accuracies) / 3)
    assert result["over"] == "3 folds"
    assert record_of(clips)["result"] == json.loads(json.dumps(result))
    assert record_of(clips)["data"]["classes"] == 2


def test_every_signer_is_left_out_once_and_any_run_predicts(clips: Path) -> None:
    result = study(clips, leave_out="signer")
    assert [row["test"] for row in result["runs"]] == [f"signer {who}" for who in SIGNERS]
    for who in SIGNERS:
        samples = record_of(clips, f"signer-{who}")["data"]["samples"]
        assert samples["test"] == 12
        assert samples["train"] + samples["validation"] == 24
    assert result["over"] == "3 signers"
    predictor = SignPredictor.load(clips.parent / "runs" / "study" / "signer-bob" / "best")
    assert predictor.probabilities([np.zeros((3, 21, 3), np.float32)]).shape == (1, 2)


def test_one_of_them_alone_is_the_run_of_the_study(clips: Path) -> None:
    result = study(clips, leave_out="signer")
    alone = study(clips, leave_out="signer", held_out="bob", experiment_name="bob")
    assert alone["test_loss"] == result["runs"][1]["test_loss"]
    folds = study(clips, folds=3, experiment_name="folds")
    alone = study(clips, folds=3, fold=2, experiment_name=None)
    assert (clips.parent / "runs" / "clips-minimal-fold-2" / "run.json").is_file()
    assert alone["test_loss"] == folds["runs"][1]["test_loss"]


def test_seeds_of_each_signer_are_a_grid(clips: Path) -> None:
    result = study(clips, leave_out="signer", seeds=2, max_steps=1)
    assert [row["name"] for row in result["runs"]] == [
        f"signer-{who}-seed-{seed}" for who in SIGNERS for seed in (0, 1)
    ]
    assert result["over"] == "3 signers"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 99}, "--folds 99: clips has 36 clips only"),
        ({"leave_out": "view"}, "--leave-out view"),
        ({"folds": 3, "split": "own"}, "--split own contradicts --folds"),
        (
            {"leave_out": "signer", "min_clips": 50},
            "--min-clips 50: no class of clips has as many; the largest has 18",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused_and_leaves_no_folder(
    clips: Path, options: dict[str, Any], message: str
) -> None:
    assert message in str(catch(study, clips, **options))
    assert list((clips.parent / "runs").glob("*")) == []


def test_data_that_changed_between_the_runs_of_a_study_are_refused(clips: Path) -> None:
    study(clips, leave_out="signer")
    folder = clips.parent / "runs" / "study"
    (folder / "run.json").write_text(json.dumps({**record_of(clips), "state": "interrupted"}))
    (folder / "signer-eve" / "run.json").unlink()
    write(clips, np.arange(36) % 2, shift=1.0)
    assert "its samples have changed since the study began" in str(
        catch(study, clips, leave_out="signer", resume="auto")
    )
    write(clips, np.arange(36) % 2)
    assert study(clips, leave_out="signer", resume="auto")["runs"][2]["state"] == "finished"


def test_a_task_of_several_tests_is_asked_for_one_of_them(clips: Path) -> None:
    config = TrainingConfig(**SMALL, data=str(clips), folds=3)
    with pytest.raises(UserError, match="give fold or held_out too"):
        make_task(config)
    assert make_task(TrainingConfig(**SMALL, data=str(clips), folds=3, fold=1)).num_samples("test") == 12

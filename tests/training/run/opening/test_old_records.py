"""Runs and settings that an earlier version left (schema 1 of `run.json`) go on, or are refused in one line.

The folders beside this file were written by that version: `signs` was stopped after 6 steps, `blobs`, a task of its user's
own, too, and `finished` came to its end. `weights` are the last ones of the same two runs, not stopped.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from slipway.training.observers.journal import lineage, read_journal
from slipway.training.run.cli import main, parse_config
from slipway.training.run.train import train
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.sign.predict import SignPredictor
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import catch
from tests.training.misbehaviour import difference, error_of, read_weights

WRITTEN = Path(__file__).with_name("schema_1")


@pytest.fixture(autouse=True)
def folder(training_in_this_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the data and the runs; each test may train in this process."""
    shutil.copytree(WRITTEN, tmp_path / "runs")
    shutil.copy(WRITTEN / "clips.npz", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record_of(name: str) -> dict[str, Any]:
    return json.loads(Path("runs", name, "run.json").read_text())


def draw(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    return torch.randn(count, 3, generator=generator) + labels[:, None], labels


def train_blobs(num_train: int = 16, **options: Any) -> dict[str, Any]:
    """Go on with the task of its user's own, as its script would with the stages that were the default then."""
    Path("stages.yaml").write_text("stages:\n- {name: baseline, epochs: 8}\n- {name: augmentation, epochs: 8}\n")
    splits = {"train": draw(0, num_train), "validation": draw(1, 8), "test": draw(2, 8)}
    config = TrainingConfig(
        quick_test=True, stages_config="stages.yaml", batch_size=8, micro_batch_size=8, device="cpu", experiment_name="blobs",
        resume="auto", log_level="error", **options,
    )  # fmt: skip
    return train(config, TensorTask(lambda: nn.Linear(3, 2), splits, name="blobs"))


def check_that_it_went_on(name: str, num_steps: int) -> None:
    steps = [event["step"] for event in lineage(read_journal(Path("runs", name, "events.jsonl")))]
    assert steps == list(range(1, num_steps + 1))
    ended = read_weights(Path("runs", name, "last", "model.safetensors"))
    # Another processor may round otherwise than the one on which the fixture was written.
    assert difference(ended, read_weights(WRITTEN / "weights" / f"{name}.safetensors")) < 1e-5
    assert record_of(name)["schema_version"] == 2


def test_a_sign_run_goes_on_by_its_name() -> None:
    assert main(["--resume", "signs", "--device", "cpu", "--log-level", "error"]) == 0
    check_that_it_went_on("signs", 18)
    assert record_of("signs")["recipe"]["task"]["options"]["model"]["width"] == 4


def test_a_run_of_a_users_own_task_goes_on() -> None:
    train_blobs()
    check_that_it_went_on("blobs", 12)
    assert "width" not in json.dumps(record_of("blobs"))


def test_what_differs_is_told_in_the_words_of_today(capfd: pytest.CaptureFixture[str]) -> None:
    told = error_of(capfd, main(["--resume", "signs", "--device", "cpu", "--model-width", "8", "--dropout", "0.5"]))
    assert "task.options.model.width 4 -> 8, stages[0].options.dropout 0.1 -> 0.5" in told
    told = error_of(
        capfd, main(["--resume", "signs", "--device", "cpu", "--sampling", "balanced", "--monitor", "macro_f1"])
    )
    assert "sampling natural -> balanced, monitor accuracy -> macro_f1" in told
    with np.load("clips.npz") as archive:
        arrays = dict(archive)
    np.savez("clips.npz", **{**arrays, "X": arrays["X"] + 1})  # type: ignore[arg-type]
    told = error_of(capfd, main(["--resume", "signs", "--device", "cpu"]))
    assert "signs: the recipe is not the run's any more: the samples of the data: fingerprint" in told


def test_a_users_own_task_with_other_samples_is_refused() -> None:
    assert "the samples of the data: fingerprint {'train': 16," in str(catch(train_blobs, num_train=24))


def test_a_finished_run_stays_and_its_weights_predict(capfd: pytest.CaptureFixture[str]) -> None:
    before = Path("runs/finished/run.json").read_bytes()
    assert main(["--resume", "finished", "--device", "cpu"]) == 0
    assert "finished is finished: nothing is left to train" in capfd.readouterr().err
    assert Path("runs/finished/run.json").read_bytes() == before
    predictor = SignPredictor.load("runs/finished/best")
    assert predictor.probabilities([np.zeros((4, 3, 2), dtype=np.float32)]).sum() == pytest.approx(1)


def test_a_record_of_a_later_version_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    record = record_of("signs")
    Path("runs/signs/run.json").write_text(json.dumps({**record, "schema_version": 3}))
    told = error_of(capfd, main(["--resume", "signs", "--device", "cpu"]))
    assert "signs: its run.json was written by another version (schema 3); go on with that version" in told


def test_a_settings_file_with_every_option_of_that_version_is_read(folder: Path) -> None:
    options = record_of("signs")["config"]
    Path("slipway.yaml").write_text(yaml.safe_dump({"train": options}))
    config = parse_config([], {}, folder)
    assert {name: getattr(config, name) for name in options} == options

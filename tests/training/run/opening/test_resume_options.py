"""A resumed run's options: what the run was told holds, what is set now is compared, and its data may have moved."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.training.common.run_names import read_record
from slipway.training.observers.journal import lineage, read_journal
from slipway.training.run.cli import main, parse_config
from tests.training.misbehaviour import error_of
from tests.training.run.test_train import write_clips

TINY = (
    *("--device", "cpu", "--stages-config", "minimal", "--epochs", "2", "--batch-size", "8", "--micro-batch-size", "8"),
    *("--model-width", "16", "--model-blocks", "1", "--log-level", "error", "--save-every", "1step"),
)


@pytest.fixture(autouse=True)
def as_if_alone(training_in_this_process: None) -> None:
    """Each test may train in this process."""


def train_clips(clips: Path | None, *options: str) -> int:
    data = [] if clips is None else ["--data", str(clips)]
    return main([*TINY, *data, *options])


@pytest.fixture
def clips_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of clips, stopped by a signal, in `runs/clips-minimal` of the working folder."""
    monkeypatch.chdir(tmp_path)
    write_clips(tmp_path / "clips.npz", np.arange(40) % 2)
    stop_after(monkeypatch, 3)
    assert train_clips(Path("clips.npz")) == 75
    return tmp_path / "runs" / "clips-minimal"


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Send a signal when the sign task has computed that many losses of training."""
    from slipway.training.tasks.sign.task import SignTask

    losses, count = SignTask.losses, [0]

    def watched(self: Any, outputs: Any, batch: Any, stage: Any) -> Any:
        count[0] += stage is not None
        if count[0] == steps and stage is not None:
            signal.raise_signal(signal.SIGTERM)
        return losses(self, outputs, batch, stage)

    monkeypatch.setattr(SignTask, "losses", watched)


def test_the_name_of_a_run_is_all_that_has_to_be_said(
    clips_run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # What is set elsewhere by now is for new runs.
    Path("slipway.yaml").write_text("train: {epochs: 9, optimizer: sgd, data: elsewhere.npz}\n")
    monkeypatch.setenv("SLIPWAY_SEED", "5")
    monkeypatch.setenv("SLIPWAY_RUNS_DIR", "elsewhere")
    assert main(["--resume", "runs/clips-minimal", "--device", "cpu", "--log-level", "error"]) == 0
    assert [event["step"] for event in lineage(read_journal(clips_run / "events.jsonl"))] == list(range(1, 9))
    config = read_record(clips_run)["config"]
    assert (config["data"], config["epochs"], config["seed"], config["runs_dir"]) == ("clips.npz", 2, 0, "runs")
    # What is set now by a flag or --config is compared all the same.
    Path("c.yaml").write_text("weight_decay: 0.5\n")
    code = main(["--resume", "runs/clips-minimal", "--device", "cpu", "--batch-rule", "fixed", "--config", "c.yaml"])
    told = error_of(capfd, code)
    assert "stages[0].weight_decay 0.05 -> 0.5, batch_rule scale -> fixed); `slipway continue clips-minimal" in told


def test_where_the_options_of_a_resumed_run_come_from_is_explained(
    clips_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    assert main(["--resume", "clips-minimal", "--explain", "--epochs", "3"]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capfd.readouterr().out.splitlines()}
    assert rows["model_width"] == ["16", "run", "runs/clips-minimal/run.json"]
    assert rows["epochs"] == ["3", "flag"]
    assert rows["num_workers"] == ["None", "default"]
    assert rows["save_every"] == ["10min", "default"]


def test_one_of_a_pair_that_is_set_now_drops_the_other_of_the_run(tmp_path: Path) -> None:
    record = {"name": "x", "recipe": {"resolution": {}}, "config": {"batch_rule": "fixed", "seed": 3, "dropout": None}}
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "run.json").write_text(json.dumps(record))
    arguments = ["--resume", "x", "--runs-dir", str(tmp_path)]
    config = parse_config([*arguments, "--auto-adjust-batch-size"], {}, tmp_path)
    assert (config.batch_rule, config.effective_batch_rule, config.seed) == (None, "scale", 3)
    assert parse_config(arguments, {"SLIPWAY_SEED": "4", "SLIPWAY_DROPOUT": "0.5"}, tmp_path).seed == 3
    assert parse_config(arguments, {"SLIPWAY_DROPOUT": "0.5"}, tmp_path).dropout is None
    assert parse_config(["--resume", "auto"], {"SLIPWAY_SEED": "4"}, tmp_path).seed == 4


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            '{"name": "x", "recipe": {"resolution": {}}, "config": {"epochs": "two"}}',
            "config.epochs: expected a whole number",
        ),
        ('{"name": "x", "recipe": {"resolution": {}}}', "run.json: it does not hold the options of the run"),
        ('{"name": "x", "recipe": {"resolut', "run.json: not the record of a run"),
        ('["name"]', "run.json: not the record of a run"),
    ],
)
def test_a_record_that_is_none_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: str, told: str
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "run.json").write_text(content)
    assert told in error_of(capfd, main(["--resume", "x", "--runs-dir", str(tmp_path)]))


def test_data_that_moved_is_the_same_and_data_that_changed_is_not(
    clips_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    Path("clips.npz").rename("moved.npz")
    assert "clips.npz" in error_of(capfd, main(["--resume", str(clips_run), "--device", "cpu"]))
    other = write_clips(Path("other.npz"), np.arange(40) % 2 * (np.arange(40) > 3))
    assert "the samples of the data" in error_of(capfd, train_clips(other, "--resume", str(clips_run)))
    assert train_clips(Path("moved.npz"), "--resume", str(clips_run)) == 0
    record = read_record(clips_run)
    assert record["config"]["data"] == "moved.npz"
    assert record["state"] == "finished"

"""A study: one folder with a run each, the same table however often it was killed, refused where its runs would differ."""

from __future__ import annotations

import json
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from slipway.results.runs.command import main as show_runs
from slipway.training.common.errors import UserError
from slipway.training.observers.events import Observer, RunEnd, StudyEnd, StudyStep
from slipway.training.run.train import train
from slipway.training.run.training_config import TrainingConfig
from tests.training.helpers import make_task
from tests.training.misbehaviour import NAME, error_of, read_weights, record_of, run, run_saving, send, steps_of
from tests.training.processes import run_group

SEEDS = ("--seeds", "3")
RUN_STEPS = 12
"""Of each run where one process trains."""


@pytest.fixture(autouse=True)
def as_if_alone(training_in_this_process: None) -> None:
    """Each test may train in this process."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs of a study that was not stopped. Copied before it is changed."""
    runs_dir = tmp_path_factory.mktemp("whole")
    assert run_group(1, runs_dir / "output", run, [*SEEDS, "--runs-dir", str(runs_dir)]) == [0]
    shutil.rmtree(runs_dir / "output")
    return runs_dir


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(one) for name, one in value.items() if name != "seconds"}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def table_of(runs_dir: Path) -> Any:
    return without_times(record_of(runs_dir)["result"])


def weights_of_runs(runs_dir: Path) -> list[torch.Tensor]:
    return [read_weights(path) for path in sorted((runs_dir / NAME).glob("seed-*/best/model.safetensors"))]


def test_a_study_is_a_folder_with_a_run_for_each_seed_and_the_numbers_of_all(whole: Path) -> None:
    record = record_of(whole)
    assert (record["state"], record["study"]) == ("finished", {"seeds": 3})
    result = record["result"]
    assert [row["name"] for row in result["runs"]] == ["seed-0", "seed-1", "seed-2"]
    own = [json.loads((whole / NAME / row["name"] / "run.json").read_text()) for row in result["runs"]]
    assert [one["result"]["test_accuracy"] for one in own] == [row["test_accuracy"] for row in result["runs"]]
    assert [one["recipe"]["seed"] for one in own] == [0, 1, 2]
    assert result["mean_test_accuracy"] == pytest.approx(sum(row["test_accuracy"] for row in result["runs"]) / 3)
    assert all(row["state"] == "finished" and row["best_epoch"] >= 1 for row in result["runs"])
    assert result["steps"] == 3 * RUN_STEPS


def test_a_run_of_a_study_is_bit_for_bit_the_run_alone(whole: Path, tmp_path: Path) -> None:
    assert run(["--seed", "2", "--runs-dir", str(tmp_path)]) == 0
    alone = read_weights(tmp_path / NAME / "best" / "model.safetensors")
    assert torch.equal(weights_of_runs(whole)[2], alone)


def test_runs_shows_a_study_as_one_line(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_runs(["--runs-dir", str(whole), "--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)["runs"]
    result = record_of(whole)["result"]
    assert (line["name"], line["state"], line["step"]) == (NAME, "finished", 3 * RUN_STEPS)
    assert line["best"] == result["mean_test_accuracy"]
    assert show_runs(["--runs-dir", str(whole / NAME), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 3


@pytest.mark.parametrize("how", ["auto", "path"])
def test_a_study_that_was_killed_in_its_second_run_ends_with_the_same_table(
    whole: Path, tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    act = partial(send, signal.SIGKILL, RUN_STEPS + 7, 0)
    arguments = [*SEEDS, "--runs-dir", str(tmp_path)]
    assert run_group(1, tmp_path / "output", run_saving, arguments, act) == [-signal.SIGKILL]
    states = [row["state"] for row in record_of(tmp_path)["progress"]["runs"]]
    assert states == ["finished", "running", "waiting"]
    capsys.readouterr()
    assert show_runs(["--runs-dir", str(tmp_path), "--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)["runs"]
    assert (line["state"], line["stage"]) == ("dead", "seed-1, 1 of 3 done")
    first = (tmp_path / NAME / "seed-0" / "run.json").stat().st_mtime_ns
    named = {"auto": [*SEEDS, "--resume", "auto"], "path": ["--resume", str(tmp_path / NAME)]}[how]
    assert run([*named, "--runs-dir", str(tmp_path)]) == 0
    assert (tmp_path / NAME / "seed-0" / "run.json").stat().st_mtime_ns == first
    assert table_of(tmp_path) == table_of(whole)
    assert all(map(torch.equal, weights_of_runs(tmp_path), weights_of_runs(whole)))
    assert len(record_of(tmp_path)["resumed"]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["output", NAME]


def test_two_processes_train_every_run_together_and_go_on_after_both_were_killed(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run_group(2, tmp_path / "one", run, [*SEEDS, "--runs-dir", str(whole)]) == [0, 0]
    act = partial(send, signal.SIGKILL, 8, 1)  # of 6 steps a run
    ended = run_group(2, tmp_path / "two", run_saving, [*SEEDS, "--runs-dir", str(killed)], act)
    assert ended[1] == -signal.SIGKILL
    assert run_group(2, tmp_path / "three", run, [*SEEDS, "--runs-dir", str(killed), "--resume", "auto"]) == [0, 0]
    assert table_of(killed) == table_of(whole)
    assert all(map(torch.equal, weights_of_runs(killed), weights_of_runs(whole)))
    # What was begun by two processes keeps its global batch, also in runs that begin with one.
    shutil.rmtree(killed)
    run_group(2, tmp_path / "four", run_saving, [*SEEDS, "--runs-dir", str(killed)], act)
    assert run([*SEEDS, "--runs-dir", str(killed), "--resume", "auto"]) == 0
    last = json.loads((killed / NAME / "seed-2" / "run.json").read_text())
    assert (last["world_size"], last["recipe"]["resolution"]["global_batch_size"]) == (1, 32)


def test_a_stop_signal_saves_and_names_the_study_to_resume(tmp_path: Path, whole: Path) -> None:
    act = partial(send, signal.SIGTERM, RUN_STEPS + 5, 0)
    assert run_group(1, tmp_path / "output", run_saving, [*SEEDS, "--runs-dir", str(tmp_path)], act) == [75]
    told = (tmp_path / "output" / "rank_0.txt").read_text()
    assert f"run 2 of 3: seed 1: stopped after step 6 and saved: go on with --resume {tmp_path / NAME}\n" in told
    record = record_of(tmp_path)
    assert (record["state"], record["progress"]["runs"][1]["state"]) == ("interrupted", "running")
    assert run(["--resume", str(tmp_path / NAME)]) == 0
    assert table_of(tmp_path) == table_of(whole)


def test_one_run_of_a_study_is_resumed_alone_by_its_folder(tmp_path: Path, whole: Path) -> None:
    act = partial(send, signal.SIGTERM, RUN_STEPS + 5, 0)
    assert run_group(1, tmp_path / "output", run_saving, [*SEEDS, "--runs-dir", str(tmp_path)], act) == [75]
    # With the options of the study, as `slipway resume` gives them.
    assert run([*SEEDS, "--runs-dir", str(tmp_path), "--resume", str(tmp_path / NAME / "seed-1")]) == 0
    assert steps_of(tmp_path / NAME, "seed-1") == list(range(1, RUN_STEPS + 1))
    assert not (tmp_path / NAME / "seed-2").exists()
    assert run(["--resume", str(tmp_path / NAME)]) == 0
    assert table_of(tmp_path) == table_of(whole)


def test_a_finished_study_stays_as_it_is(whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(whole / NAME, tmp_path / NAME)
    before = (tmp_path / NAME / "run.json").read_bytes()
    assert run([*SEEDS, "--runs-dir", str(tmp_path), "--resume", "auto", "--log-level", "info"]) == 0
    told = capfd.readouterr()
    assert "run is finished: nothing is left to train" in told.err
    assert "over 3 seeds" in told.out
    assert (tmp_path / NAME / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "4"], "run: it is a study (--seeds 3), not a study (--seeds 4); give the same options"),
        ([], "run: it is a study (--seeds 3), not a single run"),
        ([*SEEDS, "--epochs", "4"], "stages[0].epochs 3 -> 4"),
        ([*SEEDS, "--epochs", "4", "--allow-recipe-change"], "its runs would not be of one study"),
    ],
)
def test_a_study_that_would_be_another_one_is_refused(
    whole: Path, tmp_path: Path, options: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole / NAME, tmp_path / NAME)
    path = tmp_path / NAME / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "state": "interrupted"}))
    capfd.readouterr()
    told = error_of(capfd, run([*options, "--runs-dir", str(tmp_path), "--resume", "auto"]))
    assert message in told


def test_a_run_that_was_trained_by_another_recipe_is_not_taken_into_the_study(
    whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole / NAME, tmp_path / NAME)
    for path, change in ((tmp_path / NAME, {"state": "interrupted"}), (tmp_path / NAME / "seed-1", {})):
        record = json.loads((path / "run.json").read_text())
        if not change:
            record["recipe"]["optimizer"]["learning_rate"] = 0.5
        (path / "run.json").write_text(json.dumps({**record, **change}))
    capfd.readouterr()
    told = error_of(capfd, run([*SEEDS, "--runs-dir", str(tmp_path), "--resume", "auto"]))
    assert "seed-1: it was trained by another recipe than the study's: optimizer.learning_rate 0.5 -> 0.02" in told


def test_folds_of_a_task_with_data_of_its_own_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--folds: the task .* brings its own .* or give --seeds"):
        train(TrainingConfig(folds=3, runs_dir=str(tmp_path)), make_task())
    assert list(tmp_path.iterdir()) == []


def test_observers_see_every_run_and_the_study_and_are_closed_once(tmp_path: Path) -> None:
    told: list[str] = []

    class Watcher(Observer):
        def on_study_step(self, event: StudyStep) -> None:
            told.append(event.reason)

        def on_run_end(self, event: RunEnd) -> None:
            told.append(event.folder.name)

        def on_study_end(self, event: StudyEnd) -> None:
            told.append(f"study {event.folder.name}")

        def close(self) -> None:
            told.append("closed")

    options: dict[str, Any] = {"stages_config": "minimal", "epochs": 1, "log_level": "error", "device": "cpu"}
    config = TrainingConfig(seeds=2, experiment_name="s", runs_dir=str(tmp_path), **options)
    result = train(config, make_task(), [Watcher()])
    assert told == ["run 1 of 2: seed 0", "seed-0", "run 2 of 2: seed 1", "seed-1", "study s", "closed"]
    assert result == json.loads((tmp_path / "s" / "run.json").read_text())["result"]

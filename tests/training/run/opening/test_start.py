"""`--start-from`: whose weights a run begins with, which rows of its head it keeps, and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import slipway
from slipway import TensorTask, TrainingConfig
from slipway.training.devices.ranks import Ranks
from slipway.training.loop.trainer import build_model
from slipway.training.observers.events import Decision
from slipway.training.run.opening.start import Start, load_start
from slipway.training.run.result import RunResult
from slipway.training.storage.run_lock import lock_run
from tests.training.helpers import Recorder, catch
from tests.training.misbehaviour import events_of, record_of, run, send, steps_of, weights_of
from tests.training.processes import run_group

NAMES = ("sun", "rain", "snow")


@pytest.fixture(autouse=True)
def as_if_alone(training_in_this_process: None) -> None:
    """Each test may train in this process."""


def make_model(classes: int, width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, classes))


def task_of(names: Sequence[str], width: int = 8, samples: int = 32, name: str = "weather") -> TensorTask:
    inputs = torch.randn(samples, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(samples) % len(names)
    splits = dict.fromkeys(("train", "validation", "test"), (inputs, labels))
    return TensorTask(partial(make_model, len(names), width), splits, name=name, class_names=names)


def config_of(runs_dir: Path, **options: Any) -> TrainingConfig:
    return TrainingConfig(
        **({"runs_dir": str(runs_dir), "device": "cpu", "epochs": 1, "report": False, "log_level": "error"} | options)
    )


def train(runs_dir: Path, task: TensorTask, recorder: Recorder | None = None, **options: Any) -> RunResult:
    return slipway.train(config_of(runs_dir, **options), task, observers=[recorder] if recorder else [])


def start_of(runs_dir: Path, task: TensorTask, run: str = "first", **options: Any) -> tuple[nn.Module, Start]:
    """Return a new model with the weights of a run, and what is told of them."""
    config = config_of(runs_dir, start_from=run, **options)
    recipe = config.make_recipe(task)
    model = build_model(task, recipe)
    start = load_start(config, recipe, model, task, Ranks.alone())
    assert start is not None
    return model, start


def head_of(start: Start) -> Decision:
    return next(one for one in start.decisions if one.kind == "head")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run `first`, of three classes, in another process."""
    runs_dir = tmp_path_factory.mktemp("trained")
    assert run_group(1, runs_dir / "output", _train_first, str(runs_dir)) == [0]
    return runs_dir


def _train_first(runs_dir: str) -> int:
    train(Path(runs_dir), task_of(NAMES), experiment_name="first")
    return 0


@pytest.fixture
def runs_dir(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def test_a_run_begins_with_the_best_weights_of_another_and_writes_down_whose_they_are(runs_dir: Path) -> None:
    model, start = start_of(runs_dir, task_of(NAMES))
    first = slipway.load("first", runs_dir=runs_dir, make_model=partial(make_model, 3))
    for name, tensor in first.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
    result = train(runs_dir, task_of(NAMES), experiment_name="second", start_from="first")
    record = json.loads((result.folder / "run.json").read_text())
    steps = json.loads((runs_dir / "first" / "run.json").read_text())["result"]["steps"]
    assert record["parent"] | {"recipe_hash": ""} == {
        "run": "first",
        "folder": str(runs_dir / "first"),
        "weights": "best",
        "step": steps,
        "start": start.digest,
        "recipe_hash": "",
    }
    assert record["recipe"]["start"] == start.digest
    assert json.loads((runs_dir / "first" / "run.json").read_text())["recipe"]["start"] is None


def test_classes_keep_their_rows_by_name_and_a_new_one_gets_its_own(runs_dir: Path) -> None:
    names = ("fog", "snow", "sun", "rain")
    before = slipway.load("first", runs_dir=runs_dir, make_model=partial(make_model, 3))[2]
    fresh = build_model(task_of(names), config_of(runs_dir).make_recipe(task_of(names)))[2]
    model, start = start_of(runs_dir, task_of(names))
    for row, name in enumerate(names):
        expected, at = (before, NAMES.index(name)) if name in NAMES else (fresh, row)
        assert torch.equal(model[2].weight[row], expected.weight[at])
        assert torch.equal(model[2].bias[row], expected.bias[at])
    assert head_of(start).reason == "2 has 4 classes, by their names: 3 keep the weights of first; new: fog"


def test_as_many_classes_in_another_order_keep_their_rows_too(runs_dir: Path) -> None:
    before = slipway.load("first", runs_dir=runs_dir, make_model=partial(make_model, 3))[2]
    model, start = start_of(runs_dir, task_of(("snow", "sun", "rain")))
    assert torch.equal(model[2].weight, before.weight[[2, 0, 1]])
    assert head_of(start).fields["kept"] == ["snow", "sun", "rain"]


def test_a_head_of_other_classes_is_new_and_the_rest_is_kept(runs_dir: Path) -> None:
    before = slipway.load("first", runs_dir=runs_dir, make_model=partial(make_model, 3))
    model, start = start_of(runs_dir, task_of(("a", "b")))
    assert torch.equal(model[0].weight, before[0].weight)
    assert head_of(start).warning
    assert head_of(start).reason == "2 is new: none of its 2 classes (a, b) is one of first (sun, rain, snow)"


def test_of_other_data_it_is_told_that_the_test_may_have_been_learned(runs_dir: Path) -> None:
    recorder = Recorder()
    train(runs_dir, task_of(NAMES, samples=48), recorder, experiment_name="more", start_from="first")
    kinds = [one.kind for one in recorder.decisions]
    assert {"start", "other_data"} <= {*kinds}
    recorder = Recorder()
    train(runs_dir, task_of(NAMES), recorder, experiment_name="same", start_from="first")
    assert "other_data" not in [one.kind for one in recorder.decisions]


def test_what_cannot_be_started_from_is_refused_in_one_line_and_leaves_no_folder(runs_dir: Path) -> None:
    cases = {
        "the weights are of another model: 0.weight is [8, 4] there and [16, 4] here": (task_of(NAMES, 16), "first"),
        "first learned the task 'weather', and this trains 'tides'": (task_of(NAMES, name="tides"), "first"),
        "--start-from: frist: no such run": (task_of(NAMES), "frist"),
    }
    for message, (task, name) in cases.items():
        assert message in str(catch(train, runs_dir, task, start_from=name))
    with lock_run(runs_dir / "first", 0.0):
        assert "first still trains" in str(catch(train, runs_dir, task_of(NAMES), start_from="first"))
    shutil.rmtree(runs_dir / "first" / "best")
    assert "has no best/ yet" in str(catch(train, runs_dir, task_of(NAMES), start_from="first"))
    assert start_of(runs_dir, task_of(NAMES), "first/last")[1].parent["weights"] == "last"
    assert [path.name for path in runs_dir.iterdir() if path.name != "output"] == ["first"]


def test_a_killed_run_of_two_processes_goes_on_bit_for_bit_when_its_parent_is_gone(tmp_path: Path) -> None:
    whole, killed, parent = tmp_path / "whole", tmp_path / "killed", tmp_path / "parent"
    assert run_group(1, tmp_path / "output", run, ["--runs-dir", str(parent)]) == [0]
    (first,) = (path.parent for path in parent.glob("*/run.json"))
    start = ["--start-from", str(first), "--keep", "9"]
    assert run_group(2, tmp_path / "output", run, [*start, "--runs-dir", str(whole)]) == [0, 0]
    act = partial(send, signal.SIGTERM, 5, 1)
    assert run_group(2, tmp_path / "output", run, [*start, "--runs-dir", str(killed)], act) == [75, 75]
    shutil.rmtree(first / "best")
    resume = ["--runs-dir", str(killed), "--resume", "auto"]
    assert run_group(2, tmp_path / "output", run, [*start, *resume]) == [0, 0]
    assert any("which needs them no more" in str(event.get("reason")) for event in events_of(killed))
    assert steps_of(killed)[-1] == steps_of(whole)[-1]
    assert torch.equal(weights_of(killed), weights_of(whole))
    assert record_of(killed)["parent"] == record_of(whole)["parent"]


def test_a_run_without_a_checkpoint_is_not_begun_again_from_other_weights(runs_dir: Path) -> None:
    options = {"experiment_name": "second", "start_from": "first"}
    folder = train(runs_dir, task_of(NAMES), **options).folder
    record = json.loads((folder / "run.json").read_text())
    del record["result"]
    (folder / "run.json").write_text(json.dumps(record | {"state": "interrupted"}))
    shutil.rmtree(folder / "checkpoints")
    shutil.copytree(runs_dir / "first" / "best", runs_dir / "kept")
    shutil.rmtree(runs_dir / "first" / "best")
    said = str(catch(train, runs_dir, task_of(NAMES), resume="second", **options))
    assert "has no checkpoint yet: start another run" in said
    shutil.copytree(runs_dir / "kept", runs_dir / "first" / "best")
    assert train(runs_dir, task_of(NAMES), resume="second", **options).folder == folder


def test_a_finished_run_with_another_recipe_leads_to_the_command_that_trains_on(runs_dir: Path) -> None:
    said = str(catch(train, runs_dir, task_of(NAMES), resume="first", epochs=5, experiment_name="first"))
    assert f"`slipway continue {runs_dir / 'first'} --epochs 10` goes on from its weights in a new run" in said

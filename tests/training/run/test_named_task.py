"""A task that `--task` names: from its options to the recipe and the record, over levels of settings, resumes and studies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slipway import TrainingConfig, UserError, train
from slipway.training.config.settings import explain, make_config, read_settings
from tests.conftest import ROOT
from tests.limits import HANG_SECONDS
from tests.training.helpers import make_task as blobs

TASK = """
from functools import partial
from pathlib import Path
import torch
from torch import nn
from slipway import DatasetTask
from own_data import blobs


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 2))

    def forward(self, x):
        return self.layers(x)


def make_task(data: Path = Path("none"), width: int = 4, *, seed: int) -> DatasetTask:
    return DatasetTask(partial(Net, width), train=blobs(96, seed), validation=blobs(32, 1), name=f"of-{data.name}")
"""
DATA = """
import torch


def blobs(count: int, seed: int):
    inputs = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return inputs, (inputs[:, 0] > 0).long()
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "own_task.py").write_text(TASK)
    (tmp_path / "code" / "own_data.py").write_text(DATA)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    yield tmp_path
    for name in ("own_task", "own_data"):
        sys.modules.pop(name, None)


def trained(**options: Any) -> dict[str, Any]:
    """Train the named task for two steps; return `run.json`."""
    given = {"task": "code/own_task.py", "device": "cpu", "max_steps": 2, "log_level": "error", **options}
    return json.loads((train(TrainingConfig(**given)).folder / "run.json").read_text())


def test_options_stand_in_the_recipe_so_that_another_one_is_another_recipe() -> None:
    record = trained(task_options={"width": "8"}, experiment_name="one")
    assert record["recipe"]["task"]["options"] == {"width": 8}
    assert (record["config"]["task"], record["config"]["task_options"]) == ("code/own_task.py", {"width": "8"})
    assert "data" not in record["config"]
    assert (
        trained(task_options={"width": 8}, experiment_name="one", resume="runs/one")["resumed"] == []
    )  # it is finished
    with pytest.raises(UserError, match=r"task\.options\.width"):
        trained(task_options={"width": 5}, resume="runs/one")


def test_data_and_seed_reach_the_function_and_other_options_of_sign_recognition_are_refused() -> None:
    record = trained(data="some/place", seed=3)
    assert (record["name"], record["config"]["data"]) == ("of-place-default", "some/place")
    assert record["recipe"]["task"]["options"] == {"width": 4}
    other = trained(seed=4)["recipe"]["task"]
    assert other["data_fingerprint"] != record["recipe"]["task"]["data_fingerprint"]
    with pytest.raises(
        UserError, match="--model-width: an option of sign recognition, which does nothing for the task"
    ):
        trained(model_width=8)


def test_each_run_of_a_study_of_seeds_has_the_task_of_its_seed(project: Path) -> None:
    trained(seeds=2, experiment_name="both")
    records = [json.loads(path.read_text()) for path in sorted(project.glob("runs/both/*/run.json"))]
    assert len({record["recipe"]["task"]["data_fingerprint"] for record in records}) == 2


def test_levels_set_options_one_by_one_unless_they_name_another_task(project: Path) -> None:
    (project / "slipway.yaml").write_text("train: {task: code/own_task.py, task_options: {width: 8, depth: 2}}")
    settings = read_settings(TrainingConfig, {"task_options": ["width=16"]}, None, {"HOME": str(project / "none")})
    config = make_config(TrainingConfig, settings)
    assert config.task_options == {"width": "16", "depth": 2}
    shown = " ".join(next(line for line in explain(config, settings) if line.startswith("task_options")).split())
    assert shown == "task_options width=16 depth=2 width: flag; depth: project file slipway.yaml"
    other = read_settings(TrainingConfig, {"task": "images"}, None, {"HOME": str(project / "none")})
    assert "task_options" not in other
    given = {"SLIPWAY_TASK_OPTIONS": "width=3 name='a b'", "HOME": str(project / "none")}
    assert make_config(TrainingConfig, read_settings(TrainingConfig, {}, None, given)).task_options == {
        "width": "3",
        "depth": 2,
        "name": "a b",
    }


def test_a_wrong_option_names_the_file_that_has_it(project: Path) -> None:
    (project / "slipway.yaml").write_text("train: {task: code/own_task.py, task_options: {width: wide}}")
    settings = read_settings(TrainingConfig, {"task_options": ["seed=1"]}, None, {"HOME": str(project / "none")})
    with pytest.raises(UserError, match=r"^slipway.yaml: --task-options width: expected a whole number, got 'wide'$"):
        train(make_config(TrainingConfig, settings), settings=settings)


def test_a_named_task_and_one_of_the_script_are_one_too_many() -> None:
    with pytest.raises(UserError, match="the script gives train\\(\\) a task of its own; leave one of them out"):
        train(TrainingConfig(task="code/own_task.py"), blobs())
    with pytest.raises(UserError, match="--task-options: for a task that --task names"):
        train(TrainingConfig(task_options={"width": 3}))


def test_a_run_is_resumed_from_another_folder_by_its_name_and_a_file_that_moved_is_one_sentence(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(experiment_name="one", max_steps=None, epochs=1)
    (project / "elsewhere").mkdir()
    monkeypatch.chdir(project / "elsewhere")
    settings = read_settings(TrainingConfig, {"resume": "../runs/one"}, None, {"HOME": str(project / "none")})
    assert train(make_config(TrainingConfig, settings), settings=settings).folder.name == "one"
    (project / "code" / "own_task.py").rename(project / "code" / "moved.py")
    settings = read_settings(TrainingConfig, {"resume": "../runs/one"}, None, {"HOME": str(project / "none")})
    with pytest.raises(UserError, match=r"--task code/own_task\.py: no such file; the working folder is"):
        train(make_config(TrainingConfig, settings), settings=settings)


def test_a_launch_of_two_processes_trains_it_and_resume_goes_on(project: Path) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        start = [sys.executable, "-m", "slipway", *words]
        return subprocess.run(
            start, cwd=project, env=variables, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
        )

    launch = ("launch", "--num-processes", "2", "--device", "cpu", "-m", "slipway.training", "--log-level", "error")
    words = ("--task", "code/own_task.py:make_task", "--task-options", "width=8", "--batch-rule", "fixed")
    done = command(*launch, *words, "--epochs", "2", "--seed", "5", "--experiment-name", "two")
    assert done.returncode == 0, done.stderr
    record = json.loads((project / "runs" / "two" / "run.json").read_text())
    assert (record["world_size"], record["recipe"]["task"]["options"]) == (2, {"width": 8})
    record["state"] = "interrupted"
    del record["result"]
    (project / "runs" / "two" / "run.json").write_text(json.dumps(record))
    done = command("resume", "two", "--num-processes", "1")
    assert done.returncode == 0, done.stderr
    again = json.loads((project / "runs" / "two" / "run.json").read_text())
    assert (again["state"], again["world_size"], len(again["resumed"])) == ("finished", 1, 1)

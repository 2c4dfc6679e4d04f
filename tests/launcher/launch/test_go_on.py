"""`slipway continue`: a new run from the weights of another one, started as that was, with what is asked otherwise."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slipway.launcher import cli
from slipway.results.report.words import command, recipe_rows
from tests.launcher.helpers import assert_one_line_error
from tests.launcher.launches import SLIPWAY, Launches, launches
from tests.limits import HANG_SECONDS
from tests.results.runs.runs import listed, make_run

__all__ = ["launches"]

TRAINS = """
import torch
from torch import nn
from slipway import TensorTask, TrainingConfig, train
torch.manual_seed(0)
samples = torch.randn(16, 4), torch.arange(16) % 2
task = TensorTask(lambda: nn.Linear(4, 2), {"train": samples, "validation": samples}, name="own", class_names=["a", "b"])
for name in ("one", "other"):
    train(TrainingConfig(experiment_name=name, epochs=2, report=False, device="cpu", resume="auto"), task)
"""


def trained(folder: Path, **facts: Any) -> Path:
    """Write the record and the weights' file of a finished run."""
    (folder / "tells.py").touch()
    run = make_run(
        folder, **{"state": "finished", "result": {"steps": 3}, "config": {"experiment_name": None}, **facts}
    )
    (run / "best").mkdir()
    (run / "best" / "model.safetensors").touch()
    return run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, Any], list[str]]:
    """Return the plan with which a run would be continued, and the command."""
    assert cli.main(["continue", "--dry-run", "--json", *arguments]) == 0
    shown = json.loads(capsys.readouterr().out)
    (plan,) = (json.loads(content) for path, content in shown["files"].items() if path.endswith("plan.json"))
    return plan, shown["argv"]


def test_what_is_asked_for_reaches_the_training_in_the_plan(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(project)
    (project / "more.npz").touch()
    words = ["mine", "--epochs", "7", "--data", "more.npz", "--type", "polish", "--ema-decay=0.9", "--no-report"]
    plan, argv = planned(capsys, *words, "--task-options", "width=3", "depth=2")
    assert argv[-3:] == ["--lr", "1e-3", "a b"]
    assert plan["resume"] is None
    assert plan["continues"] == {
        "run": str(run),
        "experiment_name": None,
        "options": {
            "ema_decay": "0.9",
            "report": "no",
            "task_options": "width=3 depth=2",
            "start_from": str(run / "best"),
            "epochs": "7",
            "data": str(project / "more.npz"),
            "stages_config": "polish",
        },
    }


def test_a_run_that_cannot_be_continued_is_refused_in_one_line(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(project)
    assert_one_line_error(["continue", "nime"], "nime: no such run, here or in runs (did you mean 'mine'?)", capsys)
    assert_one_line_error(["continue", "mine", "7"], "unexpected argument '7'", capsys)
    words = ["continue", "mine", "--type", "polish", "--stages-config", "minimal"]
    assert_one_line_error(words, "both say the stages", capsys)
    (run / "best").rename(run / "last")
    assert_one_line_error(
        ["continue", "mine"], "no best/ weights, which are written at the end of an epoch: give", capsys
    )
    (run / "last").rename(run / "gone")
    assert_one_line_error(["continue", "mine"], "put them back, or train it anew", capsys)
    (run / "run.json").write_text(json.dumps({"study": {"seeds": 3}}))
    assert_one_line_error(["continue", "mine"], "it is a study of several runs", capsys)


def test_options_that_the_weights_cannot_fit_are_refused_before_anything_starts(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = {"name": "sign", "options": {"model": {"width": 96, "blocks": 2}}}
    trained(project, recipe={"task": task}, data={"understood": {"coords": "xyz", "layout": "hand"}})
    for words, message in (
        (["--model-width", "64"], "mine: --model-width 64: its weights are for 96; leave the option out"),
        (["--coords", "xy"], "--coords xy: its weights are for xyz"),
        (["--model-blocks=3"], "--model-blocks 3: its weights are for 2"),
        (["--task", "images"], "--task images: its weights are of the task sign; leave --task out"),
    ):
        assert_one_line_error(["continue", "mine", *words], message, capsys)
    planned(capsys, "mine", "--model-width", "96", "--coords", "auto", "--landmarks", "hand")


def test_of_a_script_the_training_that_made_the_run_goes_on_in_a_new_one_with_its_lineage(
    launches: Launches, capsys: pytest.CaptureFixture[str]
) -> None:
    launches.script(TRAINS, "trains.py")
    start(launches, sys.executable, "trains.py")
    runs = launches.folder / "runs"
    before = (runs / "one" / "run.json").read_bytes()
    start(launches, *SLIPWAY, "continue", "one", "--epochs", "7", "--weight-decay", "0.01")
    assert (runs / "one" / "run.json").read_bytes() == before
    record = json.loads((runs / "one-continued" / "run.json").read_text())
    (stage,) = record["recipe"]["stages"]
    assert (stage["epochs"], stage["learning_rate_factor"], stage["weight_decay"]) == (7, 0.3, 0.01)
    assert record["parent"]["run"] == "one"
    assert dict(recipe_rows(record))["starts from"].startswith("the best weights of one, of step ")
    words = shlex.split(command(record).partition("&& ")[2])
    assert words[:2] == ["slipway", "continue"]
    assert words[words.index("--epochs") + 1] == "7"
    assert "--start-from" not in words
    found = listed(capsys, "--runs-dir", str(runs))
    assert {name: run["parent"] for name, run in found.items()} == {"one": None, "other": None, "one-continued": "one"}


def start(launches: Launches, *command: str) -> None:
    environment = launches.environment()
    done = subprocess.run(
        command, cwd=launches.folder, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS
    )
    assert done.returncode == 0, done.stderr

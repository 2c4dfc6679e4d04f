"""One class that is most of the data: what is said, which metric is followed, and what balancing gains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from slipway.training.observers.events import Decision, Observer
from slipway.training.run.train import train
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.task import Task
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import catch

SMALL: dict[str, Any] = {
    "device": "cpu", "stages_config": "minimal", "epochs": 6, "batch_size": 20, "micro_batch_size": 20,
    "learning_rate": 0.02, "log_level": "error",
}  # fmt: skip
ADVICE = "; --sampling balanced or --class-weights balanced weigh the classes equally"
LINE = (
    'class "other" is 95 % of the training samples: always saying it would score accuracy .95, macro-F1 .49; best weights '
    "are chosen by macro-F1"
)


@pytest.fixture(autouse=True)
def as_if_alone(training_in_this_process: None) -> None:
    """Each test may train in this process."""


class Decisions(Observer):
    """Keeps what was decided."""

    def __init__(self) -> None:
        self.of: dict[str, Decision] = {}

    def on_decision(self, event: Decision) -> None:
        self.of[event.kind] = event


def make_task(num_other: int, num_sign: int) -> TensorTask:
    """Return two classes that overlap, in such numbers, in validation too; the test has as many of each."""
    generator = torch.Generator().manual_seed(3)

    def draw(*counts: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.repeat_interleave(torch.arange(2), torch.tensor(counts))
        inputs = torch.randn(len(labels), 6, generator=generator)
        inputs[:, 0] += 2.0 * labels
        return inputs, labels

    splits = {
        "train": draw(num_other, num_sign),
        "validation": draw(num_other // 2, num_sign // 2),
        "test": draw(200, 200),
    }
    return TensorTask(lambda: nn.Linear(6, 2), splits, name="signs", class_names=["other", "sign"])


def run(runs_dir: Path, task: Task, **options: Any) -> tuple[dict[str, Any], dict[str, Decision]]:
    decisions = Decisions()
    config = TrainingConfig(**{**SMALL, "runs_dir": str(runs_dir), **options})
    result = train(config, task, observers=[decisions])
    return result, decisions.of


def record_of(runs_dir: Path) -> dict[str, Any]:
    (path,) = runs_dir.glob("*/run.json")
    return json.loads(path.read_text())


def test_without_balancing_one_line_says_what_always_saying_one_class_would_score(tmp_path: Path) -> None:
    _, decisions = run(tmp_path, make_task(380, 20), epochs=1)
    told = decisions["imbalance"]
    assert (told.reason, told.warning) == (LINE + ADVICE, True)
    recipe = record_of(tmp_path)["recipe"]
    assert (recipe["monitor"], recipe["sampling"], recipe["class_weights"]) == ("macro_f1", "natural", "none")


def test_nothing_is_said_of_classes_of_similar_size(tmp_path: Path) -> None:
    _, decisions = run(tmp_path, make_task(220, 180), epochs=1)
    assert "imbalance" not in decisions
    assert record_of(tmp_path)["recipe"]["monitor"] == "accuracy"


@pytest.mark.parametrize("options", [{"sampling": "balanced"}, {"class_weights": "balanced"}])
def test_balanced_training_on_95_to_5_scores_as_training_on_balanced_data(
    tmp_path: Path, options: dict[str, str]
) -> None:
    equal, _ = run(tmp_path / "equal", make_task(200, 200))
    natural, _ = run(tmp_path / "natural", make_task(380, 20))
    balanced, decisions = run(tmp_path / "balanced", make_task(380, 20), **options)
    scores = [result["test_macro_f1"] for result in (equal, natural, balanced)]
    assert scores[2] >= 0.95 * scores[0]
    assert scores[1] < 0.85 * scores[0]
    assert (decisions["imbalance"].reason, decisions["imbalance"].warning) == (LINE, False)


def test_balancing_twice_is_told(tmp_path: Path) -> None:
    _, decisions = run(tmp_path, make_task(380, 20), epochs=1, sampling="balanced", class_weights="sqrt")
    assert decisions["balanced_twice"].reason == (
        "--sampling balanced and --class-weights sqrt together weigh a rare class more than a frequent one; one of them alone, "
        "or sqrt for both, weighs the classes equally"
    )
    _, decisions = run(tmp_path / "both", make_task(380, 20), epochs=1, sampling="sqrt", class_weights="sqrt")
    assert "balanced_twice" not in decisions


def test_a_task_without_classes_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    class Doubling(Task):
        name = "doubling"
        losses = measure = metrics = forward = fetch = lambda *_: None  # type: ignore[assignment]

        def build_model(self) -> nn.Module:
            return nn.Linear(1, 1)

        def num_samples(self, split: str) -> int:
            return 10

    error = catch(run, tmp_path / "runs", Doubling(), class_weights="balanced")
    assert str(error).startswith("--class-weights balanced: the task 'doubling' has no classes; leave the option out")
    assert not (tmp_path / "runs").exists()


def test_a_run_that_goes_on_keeps_the_metric_that_it_began_with(tmp_path: Path) -> None:
    first = {"experiment_name": "t", "resume": "auto", "max_steps": 5, "save_every": "1step"}
    run(tmp_path, make_task(380, 20), **first, monitor="accuracy")
    run_file = tmp_path / "t" / "run.json"
    stopped = {**json.loads(run_file.read_text()), "state": "interrupted"}
    run_file.write_text(json.dumps(stopped))
    _, decisions = run(tmp_path, make_task(380, 20), **first)
    assert decisions["imbalance"].reason.endswith("best weights are chosen by accuracy" + ADVICE)
    assert record_of(tmp_path)["recipe"]["monitor"] == "accuracy"
    run_file.write_text(json.dumps(stopped))
    error = catch(run, tmp_path, make_task(380, 20), **first, monitor="macro_f1", sampling="balanced")
    assert "sampling natural -> balanced, monitor accuracy -> macro_f1" in str(error)


@pytest.mark.parametrize(("clips", "monitor"), [(300, "loss"), (1200, "accuracy")])
def test_a_small_validation_of_signs_chooses_by_the_loss_and_says_so(tmp_path: Path, clips: int, monitor: str) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", X=rng.normal(size=(clips, 3, 21, 2)), y=np.arange(clips) % 3)
    decisions = Decisions()
    options = {**SMALL, "epochs": 1, "max_steps": 1, "data": str(tmp_path / "d.npz"), "runs_dir": str(tmp_path)}
    train(TrainingConfig(**options, experiment_name="signs"), observers=[decisions])
    assert json.loads((tmp_path / "signs" / "run.json").read_text())["recipe"]["monitor"] == monitor
    assert ("monitor" in decisions.of) == (monitor == "loss")
    if monitor == "loss":
        assert "chosen by the loss, of 30 validation samples" in decisions.of["monitor"].reason

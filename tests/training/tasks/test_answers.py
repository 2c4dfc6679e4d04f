"""What a run keeps of its answers: the worst mistakes, and which class is said for which."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from slipway import DatasetTask, TensorTask, TrainingConfig, train
from slipway.training.tasks.answers import (
    MOST_LISTED,
    MOST_LOSSES,
    MOST_SHOWN,
    Answers,
    describe_answers,
    pack_clip,
    unpack_clip,
)
from tests.training.helpers import make_recipe, make_task, make_trainer


def answers(count: int, **more: object) -> Answers:
    losses = np.linspace(0, 1, count)
    predicted = np.where(np.arange(count) % 2 == 0, 0, 1)
    return Answers(losses=losses, labels=np.zeros(count, dtype=np.int64), predicted=predicted, **more)  # type: ignore[arg-type]


def unseen_task() -> TensorTask:
    """Return a task that shows nothing of its samples."""
    task = make_task()
    task.show = lambda split, index: {}  # type: ignore[method-assign]
    return task


def test_the_worst_mistakes_come_first_and_right_answers_are_not_listed() -> None:
    kept = describe_answers(unseen_task(), answers(200, class_names=["a", "b"]), "test")
    assert [row["index"] for row in kept["worst"]] == list(range(199, 199 - 2 * MOST_LISTED, -2))
    assert (kept["samples"], kept["mistakes"]) == (200, 100)
    assert kept["confusion"] == [[0, 0, 100], [0, 1, 100]]
    assert kept["class_names"] == ["a", "b"]


def test_it_is_kept_of_every_sample_whether_it_was_answered_rightly_and_its_loss() -> None:
    kept = describe_answers(unseen_task(), answers(11), "test")
    right = np.unpackbits(np.frombuffer(b64decode(kept["right"]), np.uint8), count=11)
    assert right.tolist() == [1, 0] * 5 + [1]
    assert np.frombuffer(b64decode(kept["losses"]), "<f4") == pytest.approx(np.linspace(0, 1, 11))
    assert describe_answers(unseen_task(), Answers(losses=np.zeros(3)), "test")["right"] is None
    assert describe_answers(unseen_task(), Answers(losses=np.zeros(MOST_LOSSES + 1)), "test")["losses"] is None


def test_only_the_first_are_shown_as_they_are() -> None:
    task = make_task()
    task.show = lambda split, index: {"text": f"{split} {index}"}  # type: ignore[method-assign]
    kept = describe_answers(task, answers(200), "test")
    assert [row.get("text") for row in kept["worst"]] == [
        f"test {row['index']}" if number < MOST_SHOWN else None for number, row in enumerate(kept["worst"])
    ]


def test_a_loss_that_is_no_number_is_the_worst_and_a_target_that_the_loss_ignores_is_no_mistake() -> None:
    losses, labels = np.array([1.0, np.nan, 3.0]), np.array([0, 0, -100])
    found = Answers(losses=losses, labels=labels, predicted=np.array([1, 1, 1]))
    assert [row["index"] for row in describe_answers(unseen_task(), found, "test")["worst"]] == [1, 0]


def test_a_task_without_classes_lists_the_samples_of_the_highest_loss() -> None:
    kept = describe_answers(unseen_task(), Answers(losses=np.array([1.0, 3.0, 2.0])), "validation")
    assert [row["index"] for row in kept["worst"]] == [1, 2, 0]
    assert kept["mistakes"] is None


def test_a_clip_is_kept_to_a_thousandth_with_what_is_missing() -> None:
    clip = np.random.default_rng(0).normal(size=(5, 3, 3)).astype(np.float32)
    clip[2, 1] = np.nan
    np.testing.assert_allclose(unpack_clip(pack_clip(clip)), clip[..., :2], atol=6e-4)
    assert unpack_clip(pack_clip(clip[..., :1]))[0, 0, 1] == 0
    with pytest.raises(ValueError, match="reshape"):
        unpack_clip({"frames": 5, "landmarks": 3, "points": "AAAAAAAA"})


def test_a_run_without_a_test_split_keeps_what_its_best_weights_answered_in_the_validation(tmp_path: Path) -> None:
    task = make_task()
    task._splits.pop("test")
    trainer, _ = make_trainer(task, make_recipe(), folder=tmp_path)
    trainer.run()
    kept = json.loads((tmp_path / "answers.json").read_text())
    right = sum(samples for label, said, samples in kept["confusion"] if label == said)
    assert kept["split"] == "validation"
    assert right == kept["samples"] - kept["mistakes"]
    assert right / kept["samples"] == trainer.progress.best.validation["accuracy"]


def test_a_data_set_with_classes_says_which_class_its_model_said(tmp_path: Path) -> None:
    inputs, labels = torch.randn(60, 4), torch.arange(60) % 3
    split = (inputs, labels)
    task = DatasetTask(lambda: nn.Linear(4, 3), split, split, split, class_names=["<a>", "b", "c"])
    result = train(TrainingConfig(epochs=1, runs_dir=str(tmp_path)), task)
    kept = json.loads((result.folder / "answers.json").read_text())
    right = sum(samples for label, said, samples in kept["confusion"] if label == said)
    assert (kept["split"], kept["class_names"]) == ("test", ["<a>", "b", "c"])
    assert right / 60 == result["test_accuracy"]


def test_a_task_whose_answers_fail_ends_its_run_with_a_warning(tmp_path: Path) -> None:
    inputs, labels = torch.randn(60, 4), torch.arange(60) % 3
    split = (inputs, labels)
    task = DatasetTask(lambda: nn.Linear(4, 3), split, split, split)
    task.show = lambda split, index: 1 // 0  # type: ignore[method-assign, assignment, return-value]
    result = train(TrainingConfig(epochs=1, runs_dir=str(tmp_path)), task)
    assert not (result.folder / "answers.json").exists()
    assert '"no_answers"' in (result.folder / "events.jsonl").read_text()

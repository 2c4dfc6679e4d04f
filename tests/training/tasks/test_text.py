"""The task for texts: classes and the language are learned, and what padding and cutting do is known."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slipway.training.config.recipe import Stage
from slipway.training.tasks.text import encode, make_task
from tests.training.helpers import catch, make_recipe, make_trainer
from tests.training.labelled_sources import sentences, write_sentences


def trained(task: Any, epochs: int, **options: Any) -> Any:
    stage = Stage(name="only", epochs=epochs, warmup_epochs=0, weight_decay=0.0)
    trainer, _ = make_trainer(task, make_recipe(stage, learning_rate=3e-3, **options))
    trainer.run()
    return trainer


def test_classes_of_sentences_are_learned(tmp_path: Path) -> None:
    task = make_task(write_sentences(tmp_path / "a.csv", 300), width=32, layers=1)
    assert task.class_names == ["food", "weather"]
    assert task.describe()["about"].startswith("300 texts of 39 to ")
    assert task.describe()["about"].endswith(" bytes, 2 classes; 80/10/10")
    trainer = trained(task, 4)
    assert trainer.evaluate("test")["accuracy"] == 1.0
    inputs = encode(["7. We had snow soup for lunch.", "8. After fog comes more fog, they say."], 256)
    scores = trainer.model.eval()(**inputs)
    assert [task.class_names[number] for number in scores.argmax(dim=1)] == ["food", "weather"]


def test_a_language_model_predicts_bytes_better_than_their_frequencies_do(tmp_path: Path) -> None:
    path = tmp_path / "all.txt"
    path.write_text("\n".join(text for text, _ in sentences(400)), encoding="utf-8")
    task = make_task(path, objective="language-model", length=64, width=32, layers=1)
    counts = np.array([*Counter(path.read_bytes()).values()])
    entropy = -float((counts / counts.sum() * np.log(counts / counts.sum())).sum())
    assert task.metric_names == ("loss",)
    assert trained(task, 6, monitor="loss").evaluate("test")["loss"] < 0.75 * entropy


def test_each_byte_of_a_text_is_predicted_once_from_those_before_it_in_its_piece(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("é" + "abcdefghij" * 20, encoding="utf-8")
    task = make_task(path, objective="language-model", length=16)
    batch = task._structure.rebuild(task.fetch("train", torch.arange(task.num_samples("train"))))
    labels = batch["labels"][batch["mask"]]
    assert bytes(labels.tolist()) == path.read_bytes()[: len(labels)]
    assert (batch["labels"][~batch["mask"]] == -100).all()
    assert (batch["tokens"][:, 0] == 257).all()
    assert torch.equal(batch["tokens"][0, 1:], batch["labels"][0, :-1] + 1)


def test_padding_changes_no_score(tmp_path: Path) -> None:
    for options in ({}, {"objective": "language-model"}):
        task = make_task(write_sentences(tmp_path / "a.csv", 40), **options)
        torch.manual_seed(0)
        model = task.build_model().double().eval()
        short, long = "Fog.", "There will be snow in the valley."
        alone, beside = model(**encode([short], 99)), model(**encode([short, long], 99))
        torch.testing.assert_close(beside[:1, :, :4] if options else beside[:1], alone, rtol=1e-12, atol=1e-12)


def test_what_is_cut_off_is_told_and_batches_are_sorted_by_length(tmp_path: Path) -> None:
    task = make_task(write_sentences(tmp_path / "a.csv", 40), length=30)
    note = task.describe()["notes"][-1]
    assert note.startswith("40 texts are cut off at 30 bytes, ")
    assert max(task.costs("train")) == 30
    assert len(task.costs("train")) == task.num_samples("train")
    assert not any("cut off" in one for one in make_task(tmp_path / "a.csv").describe()["notes"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"objective": "lm"}, "text: objective must be one of classify, language-model, got lm"),
        ({"length": 4}, "text: length must be 8 or more, got 4"),
        ({"width": 20}, "text: width must be a multiple of 16, got 20"),
        ({"layers": 0}, "text: layers must be 1 or more, got 0"),
        ({"dropout": 1.5}, "text: dropout must be from 0 to below 1, got 1.5"),
    ],
)
def test_a_wrong_option_is_one_line(options: dict[str, Any], words: str) -> None:
    assert str(catch(make_task, "texts.csv", **options)) == words


def test_texts_of_one_class_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"text {number},a\n" for number in range(9)))
    assert str(catch(make_task, path)) == (
        f"{path}: all 9 texts of one class, 'a': there is nothing to learn; give two classes or more"
    )

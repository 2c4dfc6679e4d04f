"""Splits of samples with a label: stratified, seeded, without copies in two of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from slipway.training.data.labelled.labelled import Labelled, Samples, split_samples, split_stretches
from tests.training.helpers import catch


def split(labels: list[str], own: list[str] | None = None, contents: Any = None, seed: int = 0) -> Labelled[int]:
    items = list(range(len(labels)))
    samples = Samples(source="here", word="text", items=items, labels=labels, own=own or [""] * len(labels))
    return split_samples(samples, contents or items, train_ratio=0.8, seed=seed)


def test_each_class_has_its_share_of_each_split_and_a_seed_gives_the_same_again() -> None:
    labels = ["b"] * 100 + ["a"] * 50
    first, again, other = split(labels), split(labels), split(labels, seed=1)
    assert first.class_names == ("a", "b")
    assert first.about == "2 classes; 80/10/10"
    assert {name: Counter(of.tolist()) for name, (_, of) in first.splits.items()} == {
        "train": {1: 80, 0: 40},
        "validation": {1: 10, 0: 5},
        "test": {1: 10, 0: 5},
    }
    assert first.splits["test"][0] == again.splits["test"][0] != other.splits["test"][0]
    assert sorted(item for items, _ in first.splits.values() for item in items) == list(range(150))


def test_the_own_split_is_kept_and_a_missing_validation_is_taken_from_train() -> None:
    found = split(["a", "b"] * 30, ["train"] * 40 + ["test"] * 20)
    assert found.splits["test"][0] == list(range(40, 60))
    assert len(found.splits["validation"][0]) == 4


def test_exact_copies_are_left_out_and_told() -> None:
    found = split(["a", "b"] * 20, contents=[0, 1] * 2 + list(range(4, 40)))
    assert len(found) == 38
    assert found.notes == ("2 texts dropped as exact copies of earlier ones",)


def test_a_class_of_the_test_that_is_not_trained_is_told() -> None:
    found = split(["a", "b"] * 20 + ["new"], ["train"] * 30 + ["test"] * 11)
    assert "not in train, so never learned: new" in found.notes


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a"] * 5, "here: all 5 texts of one class, 'a': there is nothing to learn"),
        (["a", "b", "c"], "here: 3 texts of 3 classes are too few to train, validate and test"),
    ],
)
def test_what_cannot_be_split_is_refused(labels: list[str], words: str) -> None:
    assert words in str(catch(split, labels))


def test_a_long_text_trains_with_its_beginning_and_is_tested_with_its_end() -> None:
    samples = Samples(source="here", word="text", items=["0123456789" * 10], labels=[""], own=[""])
    found = split_stretches(samples, train_ratio=0.8)
    assert [len(texts[0]) for texts, _ in found.splits.values()] == [80, 10, 10]
    assert "".join(texts[0] for texts, _ in found.splits.values()) == samples.items[0]
    assert found.about == "80/10/10"
    short = Samples(source="here", word="text", items=["ab"], labels=[""], own=[""])
    assert "too short" in str(catch(split_stretches, short, train_ratio=0.8))
    assert "train_ratio must be between 0 and 1" in str(catch(split_stretches, short, train_ratio=1.0))


def test_samples_without_classes_are_split_too() -> None:
    found = split([""] * 40)
    assert [len(items) for items, _ in found.splits.values()] == [32, 4, 4]
    assert np.unique(found.splits["train"][1]).tolist() == [0]

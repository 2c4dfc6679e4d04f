"""Tests on people of whom nothing is in the training: each in its turn, with all others in training."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.training.data.splits.helpers import assert_nothing_shared, make_data, said, sizes, split, warned

SHUFFLED = np.random.default_rng(0).permutation(60).tolist()
"""Contents of clips of which those side by side are not alike."""


@pytest.mark.parametrize("people", [2, 3, 4, 5, 7, 12, 20])
def test_over_consecutive_seeds_every_signer_is_tested_equally_often(people: int) -> None:
    names = [f"s{number:02d}" for number in range(people)]
    signers = np.repeat(names, np.random.default_rng(0).integers(4, 12, people))
    data = make_data(range(len(signers)), [index % 2 for index in range(len(signers))], signers)
    for first in (0, 5):
        tested = Counter(
            name
            for seed in range(first, first + people)
            for name in split(data, mode="signer", seed=seed).signers["test"]
        )
        assert set(tested) == set(names)
        assert len(set(tested.values())) == 1


def test_of_three_signers_both_others_train() -> None:
    signers = np.repeat(["x", "y", "z"], 20)
    splits = split(make_data(range(60), [0, 1] * 30, signers), mode="signer", seed=0)
    assert len(splits.signers["train"]) == 2
    assert sizes(splits) == (36, 4, 20)
    assert f"signers of train: {', '.join(splits.signers['train'])}" in splits.notes
    assert "validation: 4 clips of train, stratified: 3 signers are too few for one of its own" in splits.notes


def test_of_four_signers_one_is_the_validation() -> None:
    signers = np.repeat([*"wxyz"], 20)
    splits = split(make_data(range(80), [0, 1] * 40, signers), mode="signer", seed=0)
    assert sizes(splits) == (40, 20, 20)
    assert_nothing_shared(splits, signers)


def test_many_signers_are_counted_and_few_are_named() -> None:
    signers = np.repeat([f"s{number}" for number in range(20)], 5)
    notes = split(make_data(range(100), [0, 1] * 50, signers), mode="signer", seed=0).notes
    assert "signers of train: 16 signers" in notes
    assert any(note.startswith("signers of test: s") for note in notes)


def test_a_stratified_split_of_known_signers_says_that_it_mixes_them() -> None:
    splits = split(make_data(SHUFFLED, [0, 1] * 30, ["x", "y", "z"] * 20), seed=0)
    assert splits.mode == "stratified"
    assert warned(splits) == (
        "100% of the test clips are of a signer who is in train too, so the accuracy is not that for a new signer; "
        "--split signer tests that"
    )
    alone = split(make_data(SHUFFLED, [0, 1] * 30, ["x"] * 60), seed=0)
    assert "all clips are of one signer: the accuracy is not that for another" in alone.notes
    assert not alone.warnings


def test_a_recording_on_both_sides_is_told_with_the_option_that_keeps_it_together() -> None:
    data = make_data(SHUFFLED, [0, 1] * 30, groups={"recording": [str(index // 6) for index in range(60)]})
    assert "of a recording that is in train too" in warned(split(data, seed=0))
    assert "--group recording tests that" in warned(split(data, seed=0))
    assert not split(data, group="recording", seed=0).warnings


def test_an_own_split_by_signer_without_validation_gets_one_by_signer() -> None:
    signers = np.repeat([*"vwxyz"], 10)
    own = np.where(signers == "z", "test", "train").tolist()
    splits = split(make_data(range(50), [0, 1] * 25, signers, own), seed=0)
    assert sizes(splits) == (30, 10, 10)
    assert_nothing_shared(splits, signers)
    assert "the own split has no validation: 10 clips of train taken, by signer as the test is" in splits.notes


def test_an_own_split_that_mixes_signers_says_so() -> None:
    own = (["train"] * 2 + ["test"]) * 20
    splits = split(make_data(SHUFFLED, [0, 1] * 30, ["x", "y"] * 30, own), seed=0)
    assert "the own split: 100% of the test clips are of a signer who is in train too" in splits.notes
    assert "taken, stratified" in said(splits)

"""Splits share nothing: no clip, no copy of a clip and, if asked, no signer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from slipway.training.common.errors import UserError
from slipway.training.data.understanding.understand import read_landmarks
from tests.training.data.splits.helpers import (
    assert_nothing_shared,
    make_data,
    parts,
    repeatable,
    said,
    sizes,
    split,
    warned,
)

clips = st.lists(
    st.tuples(
        st.integers(0, 30),  # content
        st.integers(0, 3),  # label
        st.sampled_from(["p", "q", "r", "s", "t", "u"]),  # signer
        st.sampled_from(["train", "train", "validation", "test"]),  # own split
    ),
    min_size=8,
    max_size=60,
)


@repeatable
@given(
    rows=clips,
    mode=st.sampled_from(["stratified", "signer", "own"]),
    duplicates=st.sampled_from(["drop", "keep"]),
    train_ratio=st.sampled_from([0.2, 0.5, 0.7, 0.9]),
    seed=st.integers(0, 2**40),
)
def test_no_clip_copy_or_signer_is_in_two_splits(
    rows: list[tuple[int, int, str, str]], mode: str, duplicates: str, train_ratio: float, seed: int
) -> None:
    contents, labels, signers, own = (list(column) for column in zip(*rows, strict=True))
    data = make_data(contents, labels, signers, own)
    try:
        splits = split(data, mode=mode, train_ratio=train_ratio, seed=seed, duplicates=duplicates)
    except UserError:
        assume(False)
    everything = np.concatenate(parts(splits))
    assert len(np.unique(everything)) == len(everything)
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in parts(splits))
    assert_nothing_shared(splits, np.array(contents))
    if mode == "signer" and "too few for one of its own" not in said(splits):
        assert_nothing_shared(splits, np.array(signers))
    if duplicates == "keep":
        assert len(everything) == len(rows)
    elif mode != "own":
        # What is dropped has a copy of the same class that is kept.
        kept = {(contents[index], labels[index]) for index in everything}
        assert kept == set(zip(contents, labels, strict=True))
        assert len(kept) == len(everything)


@repeatable
@given(
    counts=st.lists(st.integers(0, 40), min_size=4, max_size=4).filter(lambda counts: sum(counts) >= 20),
    train_ratio=st.sampled_from([0.5, 0.7, 0.8]),
    seed=st.integers(0, 1000),
)
def test_every_split_has_each_class_in_its_share(counts: list[int], train_ratio: float, seed: int) -> None:
    labels = np.repeat(np.arange(4), counts)
    splits = split(make_data(range(len(labels)), labels), train_ratio=train_ratio, seed=seed)
    for label, count in enumerate(counts):
        in_parts = [int(np.sum(labels[part] == label)) for part in parts(splits)]
        assert sum(in_parts) == count
        if count < 3:
            assert in_parts[0] == count
        else:
            assert in_parts[0] >= 1
            for held in in_parts[1:]:
                assert abs(held - count * (1 - train_ratio) / 2) <= 1.5


def test_the_seed_alone_decides_in_any_process() -> None:
    data = make_data(range(40), [index % 4 for index in range(40)])
    first, again, other = (split(data, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.test, again.test)
    assert first.test.tolist() != other.test.tolist()
    code = (
        "from tests.training.data.splits.helpers import make_data, split; "
        "print(split(make_data(range(40), [index % 4 for index in range(40)]), seed=3).test.tolist())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[4]
    )
    assert run.stdout.strip() == str(first.test.tolist())


@pytest.mark.parametrize("mode", ["stratified", "own"])
def test_a_final_fit_trains_on_the_validation_and_keeps_the_test(mode: str) -> None:
    data = make_data(range(40), [index % 4 for index in range(40)], splits=["train"] * 32 + ["test"] * 8)
    usual, final = (split(data, mode=mode, final_fit=final_fit, seed=1) for final_fit in (False, True))
    assert len(usual.validation)
    assert sizes(final) == (40 - len(usual.test), 0, len(usual.test))
    assert final.test.tolist() == usual.test.tolist()
    assert f"final fit: {len(usual.validation)} clips of validation train too" in final.notes
    assert not any("too few" in note for note in final.notes)


def test_small_classes_stay_in_train_and_are_counted() -> None:
    splits = split(make_data(range(13), [0] * 10 + [1, 2, 2]), train_ratio=0.7, seed=0)
    assert {10, 11, 12} <= set(splits.train.tolist())
    assert sizes(splits) == (10, 1, 2)
    assert "2 classes with fewer than 3 different clips (3 clips) kept in train" in splits.notes


def test_a_tiny_data_set_still_has_all_three_splits() -> None:
    assert sizes(split(make_data(range(6), [0, 0, 1, 1, 2, 2]), seed=0)) == (4, 1, 1)
    alone = split(make_data(range(3), [0, 1, 2]), seed=0)
    assert sizes(alone) == (3, 0, 0)
    assert "too few clips for a test split" in alone.notes


def test_a_small_train_ratio_leaves_a_clip_of_each_class_in_train() -> None:
    labels = np.repeat(np.arange(4), 3)
    splits = split(make_data(range(12), labels.tolist()), train_ratio=0.05, seed=0)
    assert set(labels[splits.train].tolist()) == {0, 1, 2, 3}
    assert sizes(splits) == (4, 4, 4)


def test_later_copies_are_dropped_and_counted() -> None:
    splits = split(make_data([*range(20), 0, 5, 5], [0] * 23), seed=0)
    assert sum(sizes(splits)) == 20
    assert not {20, 21, 22} & set(np.concatenate(parts(splits)).tolist())
    assert "3 clips dropped as exact copies of earlier ones" in splits.notes


def test_copies_of_two_classes_are_kept_together_and_noted() -> None:
    splits = split(make_data([*range(20), 0], [0] * 20 + [1]), seed=0)
    assert sum(sizes(splits)) == 21
    assert any({0, 20} <= set(part.tolist()) for part in parts(splits))
    assert "identical clips under more than one class: 1" in warned(splits)


# the data's own split


def test_the_own_split_is_taken_where_there_is_one_and_completed_from_train() -> None:
    data = make_data(range(60), [0] * 60, splits=["train"] * 40 + ["test"] * 20)
    splits = split(data, train_ratio=0.7, seed=0)
    assert splits.mode == "own"
    assert splits.test.tolist() == list(range(40, 60))
    assert sizes(splits) == (34, 6, 20), "15 % of train are validation"
    no_test = split(
        make_data(range(60), [0] * 60, splits=["train"] * 40 + ["validation"] * 20), train_ratio=0.7, seed=0
    )
    assert sizes(no_test) == (34, 20, 6)
    whole = split(make_data(range(3), [0] * 3, splits=["train", "validation", "test"]), seed=0)
    assert [part.tolist() for part in parts(whole)] == [[0], [1], [2]]


@pytest.mark.parametrize(("duplicates", "expected"), [("drop", [[1, 4], [2], [3]]), ("keep", [[1, 4], [2], [0, 3]])])
def test_a_training_copy_of_a_test_clip_leaves_train(duplicates: str, expected: list[list[int]]) -> None:
    data = make_data([7, 1, 2, 7, 4], [0] * 5, splits=["train", "train", "validation", "test", "train"])
    splits = split(data, seed=0, duplicates=duplicates)
    assert [part.tolist() for part in parts(splits)] == expected
    assert "1 clip" in said(splits)


def test_copies_within_the_published_test_set_are_left_as_they_are() -> None:
    data = make_data([1, 2, 3, 3, 1, 4], [0] * 6, splits=["train", "validation", "test", "test", "train", "train"])
    splits = split(data, seed=0)
    assert [part.tolist() for part in parts(splits)] == [[0, 5], [1], [2, 3]]


def test_a_class_that_only_the_test_has_is_kept_and_noted() -> None:
    splits = split(make_data(range(10), [0] * 9 + [3], splits=["train"] * 8 + ["test"] * 2), seed=0)
    assert 9 in splits.test
    assert "1 class of test not in train: d" in splits.notes


# signers


def test_each_of_three_signers_is_left_out_by_one_of_three_consecutive_seeds() -> None:
    signers = np.array(["x"] * 30 + ["y"] * 20 + ["z"] * 10)
    data = make_data(range(60), [0] * 60, signers)
    tested = set()
    for seed in range(3):
        splits = split(data, mode="signer", seed=seed)
        (test_signer,) = set(signers[splits.test])
        tested.add(test_signer)
        assert len(splits.train) > len(splits.validation) > 0
        assert f"signers of test: {test_signer}" in splits.notes
    assert tested == {"x", "y", "z"}


def test_with_two_signers_validation_is_taken_from_the_training_signer() -> None:
    signers = np.array(["x"] * 40 + ["y"] * 20)
    splits = split(make_data(range(60), [0] * 60, signers), mode="signer", train_ratio=0.7, seed=1)
    assert set(signers[splits.test]) == {"y"}
    assert sizes(splits) == (34, 6, 20)
    assert "validation: 6 clips of train, stratified: 2 signers are too few for one of its own" in said(splits)


def test_many_signers_come_near_the_shares() -> None:
    signers = np.repeat([f"s{number:02d}" for number in range(20)], 10)
    data = make_data(range(200), [0] * 200, signers)
    draws = [split(data, mode="signer", train_ratio=0.7, seed=seed) for seed in range(2)]
    for splits in draws:
        assert sizes(splits) == (140, 30, 30)
    assert draws[0].test.tolist() != draws[1].test.tolist()


def test_signers_with_a_copy_of_one_clip_stay_together() -> None:
    signers = np.repeat(["v", "w", "x", "y", "z"], 5)
    contents = [*range(24), 0]  # the last clip of z is a copy of the first of v
    splits = split(make_data(contents, [0] * 25, signers), mode="signer", seed=0, duplicates="keep")
    (home,) = [part for part in parts(splits) if 0 in part]
    assert {0, 24} <= set(home.tolist())
    assert_nothing_shared(splits, signers)


# bad input


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"train_ratio": 1.0}, "between 0 and 1"),
        ({"mode": "signer"}, "no signer is given for 9 of 9"),
        ({"mode": "own"}, "has no own split"),
    ],
)
def test_a_split_that_cannot_be_made_says_why(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        split(make_data(range(9), [0] * 9), seed=0, **arguments)


def test_unusable_signers_and_own_splits_say_why() -> None:
    for signers, says in ((["x"] * 9, "one signer"), (["x"] * 8 + [""], "for 1 of 9 clips")):
        with pytest.raises(UserError, match=says):
            split(make_data(range(9), [0] * 9, signers), mode="signer", seed=0)
    for own, says in (
        (["train"] * 4 + ["test"] * 4 + [""], "clip 8"),
        (["validation"] * 4 + ["test"] * 5, "marks every sample as test or validation and none as train"),
    ):
        with pytest.raises(UserError, match=says):
            split(make_data(range(9), [0] * 9, splits=own), seed=0)
    with pytest.raises(UserError, match="every training clip is an exact copy"):
        split(make_data([1, 1], [0, 0], splits=["train", "test"]), seed=0)


# real data


def test_published_data_sets_split_as_published(shared_data: Path) -> None:
    libras = split(read_landmarks(str(shared_data / "libras_movement")), seed=0)
    assert sum(sizes(libras)) == 330
    assert "30 clips dropped as exact copies of earlier ones" in libras.notes
    boston_data = read_landmarks(str(shared_data / "asl_boston104_hands"))
    boston = split(boston_data, seed=0)
    assert (len(boston.train) + len(boston.validation), len(boston.test)) == (710, 178)
    assert "1 class of test not in train: MUST" in boston.notes
    by_signer = split(boston_data, mode="signer", seed=1)
    assert by_signer.signers["test"] == ("woman-1",)
    assert by_signer.signers["train"] == ("man-1", "woman-2")
    vowels = split(read_landmarks(str(shared_data / "japanese_vowels")), seed=0)
    assert (len(vowels.train) + len(vowels.validation), len(vowels.test)) == (270, 370)

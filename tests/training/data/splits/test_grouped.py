"""Clips of one group stay in one split, and each class comes near its share in each split as far as groups allow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from slipway.training.common.errors import UserError
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


@repeatable
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 3), st.integers(0, 9), st.sampled_from("pqrst")),
        min_size=8,
        max_size=60,
    ),
    mode=st.sampled_from(["stratified", "signer"]),
    duplicates=st.sampled_from(["drop", "keep"]),
    seed=st.integers(0, 2**40),
)
def test_no_group_and_no_copy_is_in_two_splits(
    rows: list[tuple[int, int, int, str]], mode: str, duplicates: str, seed: int
) -> None:
    contents, labels, takes, signers = (list(column) for column in zip(*rows, strict=True))
    groups = {"take": [str(take) for take in takes]}
    try:
        splits = split(
            make_data(contents, labels, signers, groups=groups),
            mode=mode,
            group="take",
            duplicates=duplicates,
            seed=seed,
        )
    except UserError:
        assume(False)
    everything = np.concatenate(parts(splits))
    assert len(np.unique(everything)) == len(everything)
    assert_nothing_shared(splits, np.array(contents))
    takes_of = [set(np.array(takes)[part].tolist()) for part in parts(splits)]
    assert not takes_of[2] & (takes_of[0] | takes_of[1])
    if "validation is of groups in train" not in said(splits):
        assert not takes_of[0] & takes_of[1]
    if mode == "signer":
        signers_of = [set(np.array(signers)[part].tolist()) for part in parts(splits)]
        assert not signers_of[2] & (signers_of[0] | signers_of[1])


def test_many_groups_give_every_split_its_share_of_every_class() -> None:
    rng = np.random.default_rng(0)
    takes = np.repeat(np.arange(60), rng.integers(3, 9, 60))
    labels = takes % 4
    splits = split(
        make_data(range(len(takes)), labels, groups={"take": takes.astype(str).tolist()}), group="take", seed=1
    )
    for label in range(4):
        shares = [np.sum(labels[part] == label) / np.sum(labels == label) for part in parts(splits)]
        np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.06)
    assert "60 groups (take), each in one split" in splits.notes


def test_with_three_takes_of_each_class_every_class_is_tested_on_a_take_of_its_own() -> None:
    takes = np.repeat(np.arange(12), 10)
    labels = takes // 3
    splits = split(make_data(range(120), labels, groups={"take": takes.astype(str).tolist()}), group="take", seed=1)
    assert [set(labels[part].tolist()) for part in parts(splits)] == [{0, 1, 2, 3}] * 3
    assert "33% of the clips are in train: groups (take) are few, or large" in splits.notes


def test_with_two_takes_of_each_class_one_is_the_test_and_validation_is_a_part_of_the_other() -> None:
    takes = np.repeat(np.arange(8), 20)
    data = make_data(range(160), takes // 2, groups={"take": takes.astype(str).tolist()})
    splits = split(data, group="take", seed=1)
    assert sizes(splits) == (72, 8, 80)
    assert not set(takes[splits.test].tolist()) & set(takes[splits.train].tolist())
    assert "groups (take) are few: validation is of groups in train" in splits.notes


def test_people_who_sign_every_class_are_not_held_out_for_the_sake_of_a_rare_one() -> None:
    signers = np.repeat([*"uvwxyz"], 20)
    labels = np.tile([0, 1, 2, 3], 30)
    labels[:20] = [0, 1] * 10
    splits = split(make_data(range(120), labels, signers), group="signer", mode="stratified", seed=0)
    assert sizes(splits) == (80, 20, 20)


def test_groups_that_share_a_copy_count_as_one() -> None:
    takes = [str(index // 4) for index in range(40)]
    contents = [*range(39), 0]  # the last clip of take 9 is a copy of the first of take 0
    splits = split(make_data(contents, [0] * 40, groups={"take": takes}), group="take", seed=0, duplicates="keep")
    (home,) = [part for part in parts(splits) if 0 in part]
    assert set(range(4)) | set(range(36, 40)) <= set(home.tolist())


def test_clips_whose_group_is_unknown_count_as_one_group() -> None:
    takes = [str(index // 2) for index in range(30)] + [""] * 4
    splits = split(make_data(range(34), [0] * 34, groups={"take": takes}), group="take", seed=0)
    assert any(set(range(30, 34)) <= set(part.tolist()) for part in parts(splits))
    assert "4 clips without a take count as one group" in splits.notes


def test_an_own_split_whose_groups_straddle_is_told_with_the_share() -> None:
    takes = ["1"] * 10 + ["2"] * 10 + ["3"] * 5
    own = ["train"] * 15 + ["test"] * 10
    splits = split(make_data(range(25), [0] * 25, splits=own, groups={"take": takes}), group="take", seed=0)
    assert splits.test.tolist() == list(range(15, 25))
    assert "the own split: 50% of the test clips are of a take that is in train too" in warned(splits)


def test_an_unknown_kind_of_group_is_refused_with_those_that_the_data_have() -> None:
    data = make_data(range(9), [0] * 9, ["x", "y", "z"] * 3, groups={"take": ["1"] * 9})
    with pytest.raises(UserError, match=r"--group tape: toy has no such groups; it has: signer, take, blocks"):
        split(data, group="tape", seed=0)


def test_groups_that_are_as_many_as_classes_cannot_be_split() -> None:
    data = make_data(range(12), [0] * 4 + [1] * 4 + [2] * 4, groups={"take": ["1"] * 4 + ["2"] * 4 + ["3"] * 4})
    with pytest.raises(UserError, match="no class has clips of two groups"):
        split(data, group="take", seed=0)


def test_views_of_one_recording_stay_in_one_split_without_being_asked() -> None:
    recordings = [f"r{number // 5}" for number in range(200)]
    views = list("FLRUD") * 40
    labels = [number // 5 % 4 for number in range(200)]
    data = make_data(range(200), labels, groups={"recording": recordings, "view": views})
    splits = split(data, seed=0)
    assert splits.group == "recording"
    assert_nothing_shared(splits, np.array(recordings))
    asked = split(data, seed=0, group="view")
    assert_nothing_shared(asked, np.array(views))

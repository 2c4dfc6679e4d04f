"""In a cross-validation each clip is tested once, by a model that has seen nothing of its copies, its group or its signer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from slipway.training.common.errors import UserError
from slipway.training.data.landmarks import LandmarkData
from slipway.training.data.specs import DataSpec
from slipway.training.data.splits.folds import fold_values
from slipway.training.data.splits.split import Splits, split
from tests.training.data.splits.helpers import assert_nothing_shared, make_data, parts, repeatable, said, sizes, spec

rows_with_groups = st.lists(
    st.tuples(
        st.integers(0, 40),  # content
        st.integers(0, 3),  # label
        st.sampled_from(["p", "q", "r", "s", "t", "u"]),  # signer
        st.sampled_from(["1", "2", "3", "4", "5", "6", "7", "8"]),  # take
    ),
    min_size=12,
    max_size=60,
)


def all_runs(data: LandmarkData, of: DataSpec, seed: int) -> list[Splits]:
    """Split for each test of a cross-validation."""
    return [split(data, of.with_test(value), seed=seed) for value in fold_values(data, of)]


@repeatable
@given(
    rows=rows_with_groups,
    folds=st.integers(2, 5),
    group=st.sampled_from([None, "take", "signer"]),
    mode=st.sampled_from(["auto", "signer"]),
    duplicates=st.sampled_from(["drop", "keep"]),
    seed=st.integers(0, 2**40),
)
def test_every_clip_is_in_exactly_one_test_fold(
    rows: list[tuple[int, int, str, str]], folds: int, group: str | None, mode: str, duplicates: str, seed: int
) -> None:
    contents, labels, signers, takes = (list(column) for column in zip(*rows, strict=True))
    data = make_data(contents, labels, signers, groups={"take": takes})
    try:
        runs = all_runs(data, spec(folds=folds, group=group, mode=mode, duplicates=duplicates), seed)
    except UserError:
        assume(False)
    tested = np.concatenate([run.test for run in runs])
    assert len(np.unique(tested)) == len(tested)
    kept = {(contents[index], labels[index]) for index in tested}
    assert kept == set(zip(contents, labels, strict=True))
    assert len(tested) == (len(rows) if duplicates == "keep" else len(kept))
    for run in runs:
        assert sorted(np.concatenate(parts(run)).tolist()) == sorted(tested.tolist())
        held, training = run.test, np.concatenate([run.train, run.validation])
        for values in (contents, takes if group == "take" else [], signers if "signer" in (group, mode) else []):
            if values:
                found = np.array(values)
                assert not set(found[held].tolist()) & set(found[training].tolist())


@repeatable
@given(
    rows=rows_with_groups,
    kind=st.sampled_from(["signer", "take"]),
    duplicates=st.sampled_from(["drop", "keep"]),
    seed=st.integers(0, 2**40),
)
def test_each_value_that_is_left_out_is_tested_with_all_others_in_training(
    rows: list[tuple[int, int, str, str]], kind: str, duplicates: str, seed: int
) -> None:
    contents, labels, signers, takes = (list(column) for column in zip(*rows, strict=True))
    data = make_data(contents, labels, signers, groups={"take": takes})
    of = spec(leave_out=kind, duplicates=duplicates)
    try:
        values = fold_values(data, of)
        runs = all_runs(data, of, seed)
    except UserError:
        assume(False)
    names = np.array(data.group(kind))
    for value, run in zip(values, runs, strict=True):
        assert set(names[run.test].tolist()) <= {value}
        assert value not in names[np.concatenate([run.train, run.validation])]
        assert_nothing_shared(run, np.array(contents))
        if duplicates == "keep":
            assert len(run.test) == np.count_nonzero(names == value)


@pytest.mark.parametrize("folds", [2, 3, 5, 10])
def test_folds_are_even_in_size_and_in_every_class(folds: int) -> None:
    labels = np.repeat(np.arange(4), [13, 20, 7, 31])
    runs = all_runs(make_data(range(71), labels.tolist()), spec(folds=folds), 3)
    assert max(len(run.test) for run in runs) - min(len(run.test) for run in runs) <= 1
    for label in range(4):
        counts = [int(np.sum(labels[run.test] == label)) for run in runs]
        assert max(counts) - min(counts) <= 1


def test_folds_are_a_function_of_the_seed() -> None:
    data = make_data(range(40), [index % 4 for index in range(40)])
    tests = [[run.test.tolist() for run in all_runs(data, spec(folds=4), seed)] for seed in (1, 1, 2)]
    assert tests[0] == tests[1] != tests[2]


def test_of_three_signers_both_others_train_and_a_tenth_of_their_clips_is_validation() -> None:
    signers = np.array(["x"] * 40 + ["y"] * 40 + ["z"] * 40)
    runs = all_runs(make_data(range(120), [0, 1] * 60, signers), spec(leave_out="signer"), 0)
    assert [set(signers[run.test]) for run in runs] == [{"x"}, {"y"}, {"z"}]
    assert all(sizes(run) == (72, 8, 40) for run in runs)
    assert set(signers[runs[0].train]) == {"y", "z"}
    assert "validation: 8 clips of train, stratified: 3 signers are too few for one of its own" in runs[0].notes
    assert "signers of test: x" in runs[0].notes
    assert not runs[0].warnings


def test_of_six_signers_one_that_is_left_is_the_validation() -> None:
    signers = np.repeat([*"uvwxyz"], 10)
    run = split(make_data(range(60), [0, 1] * 30, signers), spec(leave_out="signer", held_out="w"), seed=4)
    assert sizes(run) == (40, 10, 10)
    assert_nothing_shared(run, signers)
    assert "by signer as the test is" in said(run)


def test_the_own_split_is_not_used_and_that_is_said() -> None:
    data = make_data(range(40), [0] * 40, splits=["train"] * 20 + ["test"] * 20)
    run = split(data, spec(folds=4, fold=0), seed=0)
    assert "the data's own split is not used" in run.notes
    assert sizes(run) == (27, 3, 10)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"folds": 41}, "--folds 41: toy has 40 clips only"),
        ({"folds": 5, "group": "take"}, r"--folds 5: toy has 4 groups \(take\) only"),
        ({"leave_out": "hand"}, "--leave-out hand: toy has no such groups; it has: signer, take, half"),
        ({"leave_out": "half"}, "no half is given for 20 of 40 clips"),
        ({"leave_out": "signer"}, "all clips are of one signer, x"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"folds": 3, "leave_out": "take"}, "give one of them"),
        ({"folds": 3, "mode": "own"}, "--split own contradicts --folds"),
    ],
)
def test_a_cross_validation_that_cannot_be_made_says_why(options: dict[str, object], says: str) -> None:
    groups = {"take": ["1", "2", "3", "4"] * 10, "half": ["a"] * 20 + [""] * 20}
    data = make_data(range(40), [0, 1] * 20, ["x"] * 40, groups=groups)
    with pytest.raises(UserError, match=says):
        all_runs(data, spec(**options), 0)


def test_a_value_that_the_data_do_not_have_is_refused_with_those_they_have() -> None:
    data = make_data(range(9), [0] * 9, ["x", "y", "z"] * 3)
    with pytest.raises(UserError, match=r"has no 'w'; it has: x, y, z"):
        split(data, spec(leave_out="signer", held_out="w"), seed=0)
    with pytest.raises(ValueError, match="with_test"):
        split(data, replace(spec(), folds=3), seed=0)

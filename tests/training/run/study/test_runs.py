"""Which runs a study has."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.training.common.errors import UserError
from slipway.training.run.study.runs import runs_of, study_options
from slipway.training.run.training_config import TrainingConfig


@pytest.mark.parametrize(
    ("options", "study"),
    [
        ({}, {}),
        ({"folds": 5}, {"folds": 5}),
        ({"folds": 5, "fold": 2}, {}),
        ({"leave_out": "signer"}, {"leave_out": "signer"}),
        ({"leave_out": "signer", "held_out": "ann"}, {}),
        ({"leave_out": "view", "seeds": 2}, {"leave_out": "view", "seeds": 2}),
    ],
)
def test_a_config_makes_a_study_unless_it_names_one_of_its_runs(options: dict[str, Any], study: dict[str, Any]) -> None:
    assert study_options(TrainingConfig(**options)) == study


def test_folds_are_counted_from_1_and_seeds_from_the_seed() -> None:
    runs = runs_of(TrainingConfig(folds=2, seeds=2, seed=7), [])
    assert [run.name for run in runs] == ["fold-1-seed-7", "fold-1-seed-8", "fold-2-seed-7", "fold-2-seed-8"]
    assert runs[3].options == {"fold": 2, "seed": 8}
    assert runs[3].test == "fold 2, seed 8"


def test_values_whose_names_would_be_one_folder_have_different_folders() -> None:
    runs = runs_of(TrainingConfig(leave_out="signer"), ["Ann", "ann", "a/b", "a b"])
    assert len({run.name.casefold() for run in runs}) == 4
    assert [run.options["held_out"] for run in runs] == ["Ann", "ann", "a/b", "a b"]
    assert all("/" not in run.name for run in runs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 2}, "--fold 2: it must be given with --folds, as in --folds 5 --fold 2"),
        ({"fold": 6, "folds": 5}, "--fold 6: it must be one of 1 to 5"),
        ({"folds": 3, "leave_out": "signer"}, "give one of them"),
        ({"folds": 1}, "--folds 1: it must be at least 2"),
        ({"held_out": "ann"}, "--leave-out"),
        ({"seeds": 0}, "--seeds: must be at least 1"),
        ({"min_clips": 0}, "--min-clips 0: it must be at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        _ = TrainingConfig(**options).data_spec

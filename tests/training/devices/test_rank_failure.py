"""An error of one rank ends all of them within seconds, and is told in that rank's own words."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
import torch

from slipway.training.common.errors import UserError
from slipway.training.tasks.task import Batch
from tests.training.misbehaviour import NAME, record_of, run
from tests.training.processes import started


def fail(error: Exception, rank: int, step: int, batch: Batch, losses: torch.Tensor) -> None:
    """Act: raise in the third step, on one rank."""
    if step == 3 and int(os.environ.get("RANK", "0")) == rank:
        raise error


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_one_rank_ends_all_at_once_and_is_told_in_its_own_words(tmp_path: Path, rank: int) -> None:
    act = partial(fail, ValueError("a bad kernel"), rank)
    with started(2, tmp_path / "output", run, ["--runs-dir", str(tmp_path)], act) as group:
        assert group.exit_codes() == [1, 1]
        assert "made no progress" not in group.output()
        assert "ValueError: a bad kernel" in group.output(rank)
        if rank == 1:  # rank 0 keeps what they tell each other
            assert "rank 1 had ended with ValueError: a bad kernel" in group.output(0)
    assert record_of(tmp_path)["state"] == "failed"
    assert not (tmp_path / NAME / "stacks").exists()


def test_bad_input_that_only_one_rank_has_is_told_by_that_rank(tmp_path: Path) -> None:
    act = partial(fail, UserError("clip 7: cannot be read"), 1)
    with started(2, tmp_path / "output", run, ["--runs-dir", str(tmp_path)], act) as group:
        assert group.exit_codes() == [1, 2]
        assert group.output(1) == "error: rank 1: clip 7: cannot be read\n"
        assert "rank 1 had ended with UserError: clip 7: cannot be read" in group.output(0)


def test_bad_input_that_all_ranks_have_is_told_once(tmp_path: Path) -> None:
    with started(2, tmp_path / "output", run, ["--runs-dir", str(tmp_path), "--monitor", "macro_f2"]) as group:
        assert group.exit_codes() == [2, 2]
        assert group.output(0).startswith("error: --monitor: 'macro_f2' is none of")
        assert group.output(0).count("\n") == 1
    with started(2, tmp_path / "output", run, ["--runs-dir", str(tmp_path), "--share-weights", "1,1,1"]) as group:
        assert group.exit_codes() == [2, 2]
        assert group.output() == "error: --share-weights: 3 weights for 2 processes; give one for each\n\n"
    assert not (tmp_path / NAME).exists()


def other_options(arguments: list[str]) -> int:
    """Run a training in which rank 1 has read other settings."""
    return run([*arguments, "--seed", os.environ["RANK"]])


def other_samples(arguments: list[str]) -> int:
    """Run a training in which each rank has its own samples."""
    return run(arguments, inputs=lambda features: features + int(os.environ["RANK"]))


def test_ranks_with_different_samples_are_refused(tmp_path: Path) -> None:
    with started(2, tmp_path / "output", other_samples, ["--runs-dir", str(tmp_path)]) as group:
        assert group.exit_codes() == [2, 2]
        told = group.output(0)
    assert told.startswith("error: rank 1 has another recipe than rank 0: the samples of the data: fingerprint ")
    assert told.count("\n") == 1


def test_ranks_that_would_train_different_recipes_are_refused(tmp_path: Path) -> None:
    with started(2, tmp_path / "output", other_options, ["--runs-dir", str(tmp_path)]) as group:
        assert group.exit_codes() == [2, 2]
        told = group.output(0)
    assert told.startswith("error: rank 1 has another recipe than rank 0: seed 0 -> 1; give every process the same")
    assert not (tmp_path / NAME).exists()

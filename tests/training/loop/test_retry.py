"""The same weights whichever pass runs out of memory, how often, and whether outcomes are read at once or a step late."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.misbehaviour import difference
from tests.training.misfits import BATCH_SIZE, EPOCHS, NUM_STEPS, NUM_TRAIN, Misfit, Place, Training, train, train_all
from tests.training.processes import run_group
from tests.training.starved import read_found

PLACES: tuple[Place, ...] = get_args(Place)
misfits = st.builds(
    Misfit,
    sample=st.integers(0, NUM_TRAIN - 1),
    place=st.sampled_from(PLACES),
    encounter=st.integers(1, EPOCHS + 2),
)
MOST_MISFITS = int(math.log2(BATCH_SIZE))
"""So that a single sample always fits."""


def assert_equal_runs(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Weights, losses and the ledger of samples are those of the other run."""
    scale = expected["values"].abs().max()
    assert float((found["values"] - expected["values"]).abs().max() / scale) < 1e-12
    assert found["losses"] == pytest.approx(expected["losses"], rel=1e-10, nan_ok=True)
    for name in ("error", "steps", "samples", "updates"):
        assert found[name] == expected[name], name


@lru_cache
def undisturbed(bad_sample: int | None) -> dict[str, Any]:
    """Return the run that has enough memory."""
    return train(Training(bad_sample=bad_sample))


@settings(max_examples=25, deadline=None)
@given(
    chosen=st.sets(misfits, max_size=MOST_MISFITS),
    lag=st.sampled_from([0, 1]),
    num_workers=st.sampled_from([0, 0, 2]),
    bad_sample=st.sampled_from([None, 11]),
)
def test_any_pass_may_run_out_of_memory(
    chosen: set[Misfit], lag: int, num_workers: int, bad_sample: int | None
) -> None:
    found = train(Training(misfits=tuple(chosen), lag=lag, num_workers=num_workers, bad_sample=bad_sample))
    assert_equal_runs(found, undisturbed(bad_sample))
    assert found["samples"] == [NUM_TRAIN] * EPOCHS
    assert found["decisions"].count("out_of_memory") <= len(chosen)
    assert found["decisions"].count("skipped_update") == (0 if bad_sample is None else EPOCHS)
    assert found["limit"] == BATCH_SIZE // 2 ** found["decisions"].count("out_of_memory")


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("max_steps", [1, 2, 5, NUM_STEPS - 1, NUM_STEPS, NUM_STEPS + 1])
def test_a_run_of_so_many_steps_does_so_many(lag: int, max_steps: int) -> None:
    misfit = Misfit(sample=3, place="backward", encounter=1)
    found = train(Training(lag=lag, options={"max_steps": max_steps}, misfits=(misfit,)))
    assert found["steps"] == list(range(1, min(max_steps, NUM_STEPS) + 1))
    assert_equal_runs(found, train(Training(options={"max_steps": max_steps})))


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("each", [1, 2, 3, 4])
def test_what_is_saved_is_the_run_after_that_step(lag: int, each: int) -> None:
    misfit = Misfit(sample=3, place="loss", encounter=2)
    found = train(Training(lag=lag, save_each=each, misfits=(misfit,)))
    every = train(Training(save_each=1))
    saved = {int(name.removeprefix("saved_")): values for name, values in found.items() if name.startswith("saved_")}
    # With a late outcome a save of every step would have to wait for each.
    assert set(saved) == set(range(each + lag if each == 1 else each, NUM_STEPS + 1, each + lag if each == 1 else each))
    for step, values in saved.items():
        assert (values - every[f"saved_{step}"]).abs().max() < 1e-12, step


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("stop_at", [1, 2, 3, 6, NUM_STEPS - 1, NUM_STEPS])
def test_a_stop_is_heeded_within_two_steps(lag: int, stop_at: int) -> None:
    found = train(Training(lag=lag, stop_at=stop_at))
    # What is told of a late outcome is told while the next step is computed already.
    steps = len(found["steps"])
    assert found["steps"] == list(range(1, steps + 1))
    assert steps <= stop_at + lag + (2 if lag else 1)
    assert found["error"].startswith("Interrupted") or steps == NUM_STEPS


def test_numbers_that_go_bad_are_gone_back_from_alike(tmp_path: Path) -> None:
    at_once, late = (
        train(
            Training(
                bad_sample=5,
                lag=lag,
                options={"bad_steps": 1},
                misfits=(Misfit(sample=9, place="forward", encounter=2),),
            ),
            folder=tmp_path / str(lag),
        )
        for lag in (0, 1)
    )
    assert at_once["decisions"].count("rewind") == EPOCHS
    # On the host the same numbers are rounded elsewhere.
    assert difference(late["values"], at_once["values"]) < 1e-10
    assert at_once["decisions"].count("rewind") == late["decisions"].count("rewind")


def test_running_out_of_memory_does_not_lower_the_scale_of_fp16_gradients() -> None:
    options = {"precision": "float32"}
    enough = train(Training(mixed_precision="fp16", options=options))
    for lag in (0, 1):
        misfit = Misfit(sample=3, place="backward", encounter=2)
        short = train(Training(mixed_precision="fp16", options=options, lag=lag, misfits=(misfit,)))
        assert "out_of_memory" in short["decisions"]
        assert short["loss_scale"] == enough["loss_scale"]


@pytest.mark.parametrize("lag", [0, 1])
def test_a_sample_that_does_not_fit_by_itself_is_named(lag: int) -> None:
    tries = tuple(Misfit(sample=21, place="forward", encounter=number) for number in range(2, 8))
    found = train(Training(misfits=tries, lag=lag))
    assert found["error"] == (
        "UserError: sample 21 of the training split (length 1) does not fit in memory by itself on rank 0 (CUDA out of "
        "memory. Tried to allocate 21 GiB.): try --gradient-checkpointing, shorter or cropped samples, a smaller model, or "
        "a device with more memory"
    )
    assert found["decisions"].count("out_of_memory") == MOST_MISFITS


def random_trainings(size: int) -> list[Training]:
    """Return trainings with every lag and reduction, each with some misfits."""
    choose = random.Random(size)
    trainings = []
    for number in range(12):
        chosen = {
            Misfit(
                sample=choose.randrange(NUM_TRAIN),
                place=choose.choice(PLACES),
                encounter=1,
                rank=choose.randrange(size),
            )
            # A single sample fits, also of a third of the batch.
            for _ in range(2)
        }
        training = Training(
            name=f"misfits {number}",
            misfits=tuple(chosen),
            lag=number % 2,
            reduction=("flat", "overlap")[number // 2 % 2],
            bad_sample=choose.choice([None, 11]),
            num_workers=choose.choice([0, 2]),
            save_each=choose.choice([2, 3]),
            stop_at=choose.choice([None, None, None, 5]),
        )
        trainings += [training, replace(training, name=f"reference {number}", misfits=(), lag=0, reduction="flat")]
    return trainings


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_agree_whichever_of_them_runs_out_of_memory(tmp_path: Path, size: int) -> None:
    trainings = random_trainings(size)
    assert run_group(size, tmp_path / "output", train_all, tmp_path, trainings) == [0] * size
    ended = 0
    for training, reference in zip(trainings[::2], trainings[1::2], strict=True):
        for rank in range(size):
            found = read_found(tmp_path, training.name, rank)
            expected = read_found(tmp_path, reference.name)
            if training.stop_at is not None:
                assert found["error"].startswith("Interrupted")
                assert training.stop_at < found["steps"][-1] <= training.stop_at + 1 + 2 * training.lag
                continue
            ended += found["decisions"].count("out_of_memory")
            assert_equal_runs(found, expected)
    assert ended > 5 * size

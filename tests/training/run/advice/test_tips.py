"""Advice that is measured, not canned."""

from __future__ import annotations

import math
import re

import pytest
import torch

from slipway.training.run.advice import tips
from slipway.training.run.advice.tips import give_tips
from slipway.training.run.training_config import TrainingConfig
from tests.training.helpers import make_task


def config(**options: int) -> TrainingConfig:
    return TrainingConfig(device="cpu", quick_test=True, **options)  # type: ignore[arg-type]


def test_each_subject_gets_one_tip_with_its_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tips, "usable_cores", lambda: 2)
    threads = torch.get_num_threads()
    given = give_tips(config(batch_size=16), make_task(50))
    assert [tip.about for tip in given] == ["batch and rate", "workers", "processes"]
    batch, workers, processes = given
    chosen = re.fullmatch(r"--batch-size (16|32) --learning-rate ([0-9.e-]+)", batch.advice)
    assert chosen
    # 64 samples are more than there are: two sizes are measured, and the rate follows the batch.
    assert [int(size) for size in re.findall(r"(\d+): [0-9,]+", batch.because)] == [16, 32]
    assert float(chosen[2]) == pytest.approx(2e-3 * int(chosen[1]) / 16)
    assert workers.advice == "--num-workers 0"
    assert re.search(r"takes [0-9.]+ ms to prepare, \d+% of a step of [0-9.]+ ms", workers.because)
    assert processes.advice in ("one process", "2 processes")
    assert "with 2 steps an epoch under `scale`" in processes.because
    assert torch.get_num_threads() == threads


def test_a_data_set_of_one_batch_is_measured_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tips, "usable_cores", lambda: 1)
    given = give_tips(config(batch_size=16), make_task(16))
    assert len(given) == 3
    assert all("nan" not in tip.because for tip in given)
    assert given[2].because == "there is one usable core"


def test_a_step_is_timed_without_the_validation_between_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    now, step_seconds, validation_seconds = [0.0], 0.01, 5.0
    monkeypatch.setattr(tips.time, "perf_counter", lambda: now[0])
    clock = tips._Clock()

    class Event:
        loss = torch.zeros(())

    for _ in range(4):
        now[0] += step_seconds
        clock.on_step(Event())  # type: ignore[arg-type]
        now[0] += validation_seconds
        clock.on_epoch_end(Event())  # type: ignore[arg-type]
    assert all(math.isclose(seconds, step_seconds) for seconds in clock.seconds)


def test_a_data_set_smaller_than_a_batch_is_told_its_size() -> None:
    given = give_tips(config(batch_size=64), make_task(10))
    assert [tip.advice for tip in given] == ["--batch-size 10 at most"]
    assert "10 training samples, fewer than 64" in given[0].because

"""The waits for data are measured, and threads are added while they help; a number that the user gave stays."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from slipway.training.batches import wait_clock, workers
from slipway.training.batches.loader import Loader
from slipway.training.batches.sampler import StepWork
from slipway.training.batches.workers import WorkerCount
from slipway.training.common.settings import Setting
from slipway.training.config.recipe import Stage
from slipway.training.devices.ranks import Ranks
from slipway.training.observers.events import Decision
from slipway.training.run import planning
from slipway.training.run.training_config import TrainingConfig
from tests.training.helpers import PLAN, make_recipe, make_task, make_trainer

STAGE = Stage(name="only", epochs=1)


def windows(count: WorkerCount, *observed: tuple[float, float]) -> list[int]:
    """Let time pass: of each window the seconds a step takes and the share of waiting. Return the counts after each."""
    found = []
    for seconds, share in observed:
        for _ in range(max(50, round(5.0 / seconds + 0.5))):
            count.note(seconds, share * seconds)
        found.append(count.count)
    return found


def test_threads_double_as_long_as_that_makes_steps_faster() -> None:
    told: list[Decision] = []
    count = WorkerCount(1, 6, told.append)
    assert windows(count, (0.2, 0.5), (0.2, 0.5), (0.15, 0.4), (0.12, 0.2), (0.11, 0.1)) == [1, 2, 4, 6, 6]
    assert count.is_settled
    assert [decision.fields["num_workers"] for decision in told] == [2, 4, 6]
    assert told[0].reason == (
        "threads that prepare micro-batches: 2 instead of 1; the loop waits for data 50 % of the time"
    )


def test_threads_that_do_not_help_are_taken_away_again_for_good() -> None:
    told: list[Decision] = []
    count = WorkerCount(2, 8, told.append)
    assert windows(count, (0.2, 0.5), (0.2, 0.5), (0.199, 0.5), (0.3, 0.9)) == [2, 4, 2, 2]
    assert count.is_settled
    assert [decision.fields["num_workers"] for decision in told] == [4, 2]


def test_no_thread_is_added_where_the_loop_hardly_waits_or_the_number_is_fixed() -> None:
    told: list[Decision] = []
    calm = WorkerCount(0, 8, told.append)
    assert windows(calm, *[(0.2, 0.04)] * 5) == [0] * 5
    assert not calm.is_settled
    assert WorkerCount(2, None, told.append).is_settled
    assert WorkerCount(2, 2, told.append).is_settled
    assert told == []


def test_the_slow_first_steps_of_a_process_do_not_count() -> None:
    count = WorkerCount(0, 8, lambda decision: None)
    assert windows(count, (9.0, 0.9), (0.2, 0.01)) == [0, 0]


def test_a_user_who_gives_a_number_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "usable_cores", lambda: 16)
    config, recipe = TrainingConfig(), make_recipe()
    by_hand = Setting(value=0, origin="flag")
    by_the_launcher = Setting(value=0, origin="launch plan", is_fixed=False)
    found = [
        planning.make_plan(config, recipe, Ranks.alone(), {"num_workers": setting} if setting else {}).most_workers
        for setting in (by_hand, by_the_launcher, None)
    ]
    most = min(8, 16 - torch.get_num_threads())
    assert found == [None, most, most]


def test_threads_are_added_in_the_middle_of_an_epoch_and_the_weights_stay_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "_LEAST_STEPS", 2)
    monkeypatch.setattr(workers, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(workers, "_LEAST_GAIN", -1e9)
    monkeypatch.setattr(workers, "_TOLERATED_SHARE", 0.0)
    recipe = make_recipe(Stage(name="only", epochs=2), batch_size=4)
    finals, told = [], []
    for most in (None, 3):
        plan = replace(PLAN, num_workers=0, most_workers=most, micro_batch_size=3)
        trainer, recorder = make_trainer(make_task(), recipe, plan=plan)
        trainer.run()
        finals.append(trainer.parameters.values)
        told.append([one.fields["num_workers"] for one in recorder.decisions if one.kind == "num_workers"])
    assert torch.equal(finals[0], finals[1])
    assert told == [[], [1, 2, 3]]


class SlowClock:
    """Goes on by a second for each fetch, and otherwise stands."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_time_to_make_a_batch_is_waiting_where_no_thread_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SlowClock()
    monkeypatch.setattr(wait_clock, "time", SimpleNamespace(perf_counter=clock))
    task = make_task()
    fetch = task.fetch

    def slow(split: str, indices: torch.Tensor) -> Any:
        clock.now += 1.0
        return fetch(split, indices)

    monkeypatch.setattr(task, "fetch", slow)
    loader = Loader(task, seed=0, dtype=torch.float32, device=torch.device("cpu"))
    parts = [np.arange(2), np.arange(2, 4)]
    works = [StepWork(step, parts, np.arange(4), [4], 4) for step in range(2)]
    waited = []
    for _, batches in loader.steps(works, 0, STAGE):
        for _ in batches:
            clock.now += 10.0  # computing
        waited.append(loader.take_waited_seconds())
    assert waited == [2.0, 2.0]

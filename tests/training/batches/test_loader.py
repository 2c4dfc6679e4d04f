"""The loader gives steps the same batches, whether it makes them one at a time or for many steps at once."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from slipway.training.batches import prefetcher, wait_clock
from slipway.training.batches.loader import Loader
from slipway.training.batches.sampler import StepWork
from slipway.training.config.recipe import Stage
from slipway.training.tasks.sign.options import SignStage
from slipway.training.tasks.task import Batch, Task
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import make_task as make_blobs
from tests.training.tasks.sign.test_encoder import EVERYTHING, make_task

STAGE = Stage(name="only", epochs=1, options=SignStage(augmentation=EVERYTHING))


class Fetches:
    """Notes the samples of each call of a task's fetch."""

    def __init__(self, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        fetch = task.fetch

        def noted(split: str, indices: torch.Tensor) -> Any:
            self.sizes.append(len(indices))
            return fetch(split, indices)

        monkeypatch.setattr(task, "fetch", noted)


def make_loader(task: Task, *, num_workers: int = 0) -> Loader:
    return Loader(task, seed=0, dtype=torch.float32, device=torch.device("cpu"), num_workers=num_workers)


def make_works(*sizes: list[int]) -> list[StepWork]:
    """Return a step for each list of micro-batch sizes, of samples drawn from the first twelve."""
    draw = np.random.default_rng(0)
    works = []
    for number, of_step in enumerate(sizes):
        parts = [draw.integers(0, 12, size) for size in of_step]
        works.append(
            StepWork(number, parts, np.concatenate([*parts, np.arange(0)]), [sum(of_step)], max(of_step, default=1))
        )
    return works


def batches_of(loader: Loader, works: list[StepWork]) -> Iterator[list[Batch]]:
    return (list(batches) for _, batches in loader.steps(works, 3, STAGE))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_small_steps_are_prepared_together_and_get_what_each_gets_alone(
    num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = make_works([3, 2], [4], [], [1, 1, 1], *([2] for _ in range(12)))
    task, alone = make_task(), make_task()
    with monkeypatch.context() as patched:
        patched.setattr(type(alone), "can_split_batches", False)
        expected = list(batches_of(make_loader(alone), works))
    fetches = Fetches(task, monkeypatch)
    loader = make_loader(task, num_workers=num_workers)
    found = list(batches_of(loader, works)) + list(batches_of(loader, works))
    loader.close()
    assert [[len(batch.indices) for batch in step] for step in found[: len(works)]] == [
        [len(part) for part in work.micro_batches] for work in works
    ]
    # The first steps tell how large a sample is.
    assert sum(map(len, found)) > 2 * len(fetches.sizes)
    for step, expected_step in zip(found, [*expected, *expected], strict=True):
        for batch, wanted in zip(step, expected_step, strict=True):
            assert torch.equal(batch.indices, wanted.indices)
            assert batch.keys is not None
            assert wanted.keys is not None
            assert torch.equal(batch.keys, wanted.keys)
            assert batch.tensors.keys() == wanted.tensors.keys()
            for name, tensor in batch.tensors.items():
                assert torch.equal(tensor.nan_to_num(9.0), wanted.tensors[name].nan_to_num(9.0)), name


def test_of_steps_that_are_prepared_together_the_first_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(wait_clock, "time", SimpleNamespace(perf_counter=lambda: now))
    task = make_blobs()
    fetch = task.fetch

    def slow(split: str, indices: torch.Tensor) -> Any:
        nonlocal now
        now += 6.0
        return fetch(split, indices)

    monkeypatch.setattr(task, "fetch", slow)
    loader, waited = make_loader(task), []
    for _, batches in loader.steps(make_works([4], [], [2], [3], [2]), 0, STAGE):
        list(batches)
        waited.append(loader.take_waited_seconds())
    assert waited == [6.0, 0.0, 6.0, 0.0, 0.0]


class Drawing(TensorTask):
    """Draws from torch's generator, which the loop seeds for each step."""

    def augment(self, tensors: dict[str, torch.Tensor], keys: torch.Tensor, stage: Stage) -> dict[str, torch.Tensor]:
        return {**tensors, "inputs": tensors["inputs"] + torch.randn_like(tensors["inputs"])}


def test_what_draws_otherwise_than_by_keys_is_prepared_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Drawing(nn.Identity, {"train": (torch.zeros(12, 3), torch.zeros(12, dtype=torch.int64))})
    fetches = Fetches(task, monkeypatch)
    assert [len(step) for step in batches_of(make_loader(task), make_works([2], [3], [1], [2]))] == [1, 1, 1, 1]
    assert fetches.sizes == [2, 3, 1, 2]


def test_large_steps_are_prepared_one_micro_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetcher, "_BYTES_TOGETHER", 16)
    task = make_blobs()
    fetches = Fetches(task, monkeypatch)
    for step, batches in enumerate(
        batches for _, batches in make_loader(task).steps(make_works([3, 2], [4, 1]), 0, STAGE)
    ):
        next(batches)
        assert len(fetches.sizes) == 2 * step + 1
        next(batches)
    assert fetches.sizes == [3, 2, 4, 1]


def test_a_step_that_stops_early_leaves_nothing_to_the_next() -> None:
    works = make_works([4], [2, 2], [3, 1])
    loader = make_loader(make_blobs())
    seen = []
    for work, batches in loader.steps(works, 0, STAGE):
        seen.append(torch.equal(next(batches).indices, torch.from_numpy(work.micro_batches[0])))
    assert seen == [True, True, True]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_batch_is_not_kept_by_the_loader_once_it_is_handed_over(num_workers: int) -> None:
    loader = make_loader(make_blobs(), num_workers=num_workers)
    steps = loader.steps(make_works([2, 2]), 0, STAGE)
    _, batches = next(steps)
    kept = weakref.ref(next(batches).tensors["inputs"])
    loader.close()
    assert kept() is None

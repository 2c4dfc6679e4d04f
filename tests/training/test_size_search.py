"""How the first micro-batch size is found: the fastest of those that fit, by passes that do not fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint_sequential

from tests.training.helpers import make_recipe, make_task, make_trainer
from tests.training.processes import run_group
from tests.training.starved import Case, limit_memory, make_world, read_found, run_case, write_found
from training import memory, size_search
from training.pass_memory import bytes_of_pass
from training.recipe import Stage
from training.size_search import fastest_size, largest_that_fits
from training.tasks.tensors import TensorTask

CPU = torch.device("cpu")


class Memory:
    """A device of so many bytes, on which `compute` takes so many for each sample."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, total: int, fixed: int, each: int, told: bool = True) -> None:
        self.total, self.fixed, self.each = total, fixed, each
        self.tried: list[int] = []

        def bytes_of(compute: Callable[[int], None], size: int, device: Any, standing: Any) -> int | None:
            compute(size)
            return self.fixed + self.each * size if told else None

        monkeypatch.setattr(size_search, "bytes_of_pass", bytes_of)
        monkeypatch.setattr(size_search, "free_bytes", lambda device: total if told else None)
        monkeypatch.setattr(size_search, "release_memory", lambda device: None)

    def compute(self, size: int) -> None:
        self.tried.append(size)
        if self.fixed + self.each * size > self.total:
            raise torch.OutOfMemoryError("CUDA out of memory.")


@settings(max_examples=200, deadline=None)
@given(
    total=st.integers(1, 10**6),
    fixed=st.integers(0, 10**4),
    each=st.integers(1, 10**5),
    largest=st.integers(1, 300),
    told=st.booleans(),
    device=st.sampled_from(["cpu", "cuda"]),
)
def test_the_first_size_fits(total: int, fixed: int, each: int, largest: int, told: bool, device: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        device_memory = Memory(patch, total, fixed, each, told)
        size, needed = largest_that_fits(device_memory.compute, largest, torch.device(device))
    assert 1 <= size <= largest
    real = (total - fixed) // each
    assert (needed is None) or needed >= each
    if told and real >= 4:
        # Nothing fails on the way, and what is chosen fits, with some to spare.
        assert all(fixed + each * tried <= total for tried in device_memory.tried)
        assert size <= max(2, real)
    if told and real >= 20 * largest and total > 100 * fixed:
        assert size == largest
    if not told and device == "cuda" and real >= 2:
        assert size <= real
        assert size == largest or size >= real // 4


def test_ranks_that_share_the_memory_of_a_host_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Memory(monkeypatch, 1000, 0, 10)
    assert largest_that_fits(alone.compute, 64, CPU)[0] == 50
    assert largest_that_fits(alone.compute, 64, CPU, sharers=5)[0] == 10


def test_the_host_memory_of_a_pass_is_measured() -> None:
    layers = nn.Sequential(*(nn.Sequential(nn.Linear(256, 256), nn.ReLU()) for _ in range(20)))
    inputs = torch.randn(2048, 256)
    activations = 20 * 2 * inputs.nbytes
    standing = {parameter.untyped_storage().data_ptr() for parameter in layers.parameters()}

    def whole(size: int) -> None:
        layers(inputs[:size]).sum().backward()

    def in_segments(size: int) -> None:
        # Computes activations again: autograd then saves little at once, but the process grows by a segment's.
        checkpoint_sequential(layers, 4, inputs[:size].requires_grad_(), use_reentrant=False).sum().backward()

    for compute in (whole, in_segments):
        compute(2)
    needed = bytes_of_pass(whole, len(inputs), CPU, standing)
    assert needed is not None
    assert 0.5 * activations < needed < 3 * activations
    again = bytes_of_pass(in_segments, len(inputs), CPU, standing)
    assert again is not None
    between_segments = 4 * inputs.nbytes
    assert 3 * between_segments < again < 3 * activations


def test_the_parameters_of_a_large_model_are_no_part_of_what_a_sample_needs() -> None:
    wide = nn.Linear(2048, 2048)

    def compute(size: int) -> None:
        wide(torch.zeros(size, 2048, requires_grad=True)).sum().backward()

    compute(1)

    standing = {parameter.untyped_storage().data_ptr() for parameter in wide.parameters()}
    with_them, without = (bytes_of_pass(compute, 1, CPU, known) for known in ((), standing))
    assert with_them is not None
    assert without is not None
    assert with_them >= 2 * wide.weight.nbytes > without


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({16: 1.0, 8: 2.0, 4: 4.0}, 16),
        ({16: 1.02, 8: 1.0, 4: 4.0}, 16),  # as fast but for noise
        ({16: 1.5, 8: 1.0, 4: 1.1, 2: 3.0}, 8),
        ({16: math.inf, 8: math.inf, 4: 1.0, 2: 1.5}, 4),
        ({3: 1.0, 2: 0.8, 1: 0.2}, 1),
        ({2: math.inf, 1: math.inf}, 1),
        ({1: 1.0}, 1),
    ],
)
def test_the_fastest_size_is_chosen(times: dict[int, float], expected: int) -> None:
    assert fastest_size(lambda size: times[size], max(times)) == expected


def test_one_slow_timing_does_not_decide() -> None:
    random = np.random.default_rng(3)
    true = {32: 1.0, 16: 1.2, 8: 1.5, 4: 2.0, 2: 3.0, 1: 5.0}
    for _ in range(200):
        # Three of five timings are disturbed, by up to ten times.
        chosen = fastest_size(lambda size: true[size] * (1.0 if random.random() < 0.4 else random.uniform(1, 10)), 32)
        assert chosen == 32


def test_the_search_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def seconds(size: int) -> float:
        nonlocal now
        now += 0.7
        return 0.7

    monkeypatch.setattr(size_search.time, "monotonic", lambda: now)
    assert fastest_size(seconds, 256) == 256
    assert now < 3.0


class BatchStatistics(nn.Module):
    """A model that normalises over its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layers(inputs)


def test_the_probe_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = make_task(51)
    task = TensorTask(BatchStatistics, blobs._splits, name="with batch statistics")
    trainer, _ = make_trainer(task, make_recipe(batch_size=51))
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    # Of a size that leaves a single sample over, of which there are no batch statistics.
    monkeypatch.setattr(size_search, "fastest_size", lambda seconds, largest: 1 / 0)
    trainer._loop.choose_micro_batch(make_recipe().stages[0])
    assert trainer._loop.limit.limit == 51
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_the_choice_is_made_again_after_a_resume_elsewhere() -> None:
    recipe = make_recipe(Stage(name="only", epochs=1))
    trainer, _ = make_trainer(make_task(), recipe)
    loop = trainer._loop
    assert not loop.limit.is_chosen
    loop.limit.restore({**loop.limit.state(), "key": "of another machine", "limit": 3, "ceiling": 3})
    trainer.run()
    assert loop.limit.is_chosen
    assert loop.limit.bytes_per_sample is not None


def tight(folder: Path) -> int:
    """As the only rank: see how much may be allocated under a limit, and train with the size that is found."""
    found = {"free": [memory.free_bytes(CPU)]}
    limit_memory(300)
    found["free"].append(memory.free_bytes(CPU))
    limit_memory(None)
    ranks = make_world()
    case = Case(name="tight", forward_mib=32, rank=0, margin_mib=1024, micro_batch_size=None)
    found |= run_case(case, ranks)
    write_found(folder, ranks, case.name, found)
    return 0


def test_a_run_begins_with_what_a_limit_on_its_memory_leaves(tmp_path: Path) -> None:
    assert run_group(1, tmp_path / "output", tight, tmp_path) == [0]
    found = read_found(tmp_path, "tight")
    assert found["free"][0] > 400 << 20
    assert 290 << 20 <= found["free"][1] <= 300 << 20
    assert found["error"] is None
    assert found["out_of_memory"] == []
    # At most 8 samples of 64 MiB, twice what they save, are planned for half of what is free.
    assert max(found["micro_batches"]) >= 3

"""How the first micro-batch size is found: the fastest of those that fit, by passes that do not fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint_sequential

from slipway.training.batches.share import micro_batches
from slipway.training.config.recipe import Stage
from slipway.training.devices import memory
from slipway.training.step.micro_batch import search as size_search
from slipway.training.step.micro_batch.fastest import fastest_size
from slipway.training.step.micro_batch.pass_memory import bytes_of_pass
from slipway.training.step.micro_batch.search import SizeSearch, _spaced, largest_that_fits
from tests.training.helpers import PLAN, make_recipe, make_task, make_trainer
from tests.training.processes import run_group
from tests.training.starved import Case, limit_memory, make_world, read_found, run_case, write_found

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Memory:
    """A device of so many bytes, on which `compute` takes so many for each sample."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, total: int, fixed: int, each: int, told: bool = True) -> None:
        self.total, self.fixed, self.each = total, fixed, each
        self.tried: list[int] = []

        def bytes_of(compute: Callable[[int], None], size: int, device: Any, persistent_storages: Any) -> int | None:
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
    assert largest_that_fits(alone.compute, 64, CPU, processes_sharing_memory=5)[0] == 10


def test_the_host_memory_of_a_pass_is_measured() -> None:
    layers = nn.Sequential(*(nn.Sequential(nn.Linear(256, 256), nn.ReLU()) for _ in range(20)))
    inputs = torch.randn(2048, 256)
    activations = 20 * 2 * inputs.nbytes
    persistent_storages = {parameter.untyped_storage().data_ptr() for parameter in layers.parameters()}

    def whole(size: int) -> None:
        layers(inputs[:size]).sum().backward()

    def in_segments(size: int) -> None:
        # Computes activations again: autograd then saves little at once, but the process grows by a segment's.
        checkpoint_sequential(layers, 4, inputs[:size].requires_grad_(), use_reentrant=False).sum().backward()

    for compute in (whole, in_segments):
        compute(2)
    needed = bytes_of_pass(whole, len(inputs), CPU, persistent_storages)
    assert needed is not None
    assert 0.5 * activations < needed < 3 * activations
    again = bytes_of_pass(in_segments, len(inputs), CPU, persistent_storages)
    assert again is not None
    between_segments = 4 * inputs.nbytes
    assert 3 * between_segments < again < 3 * activations


def test_the_parameters_of_a_large_model_are_no_part_of_what_a_sample_needs() -> None:
    wide = nn.Linear(2048, 2048)

    def compute(size: int) -> None:
        wide(torch.zeros(size, 2048, requires_grad=True)).sum().backward()

    compute(1)

    persistent_storages = {parameter.untyped_storage().data_ptr() for parameter in wide.parameters()}
    with_them, without = (bytes_of_pass(compute, 1, CPU, known) for known in ((), persistent_storages))
    assert with_them is not None
    assert without is not None
    assert with_them >= 2 * wide.weight.nbytes > without


class Passes:
    """Takes the place of passes: each takes so long, and each sample more the more there are, on a clock of its own."""

    def __init__(self, patch: pytest.MonkeyPatch, *, each_pass: float, sample: float, most: int | None = None) -> None:
        self.each_pass, self.sample, self.most = each_pass, sample, most
        self.time = 0.0
        self.samples: list[np.ndarray] = []
        patch.setattr(SizeSearch, "_seconds", lambda search, *asked: self.seconds(*asked))
        patch.setattr(size_search, "fastest_size", partial(fastest_size, now=lambda: self.time))

    def seconds(self, samples: np.ndarray, size: int, stage: Stage) -> float:
        self.samples.append(samples)
        counts = [len(samples[part]) for part in micro_batches(len(samples), size)]
        if self.most is not None and max(counts) > self.most:
            return math.inf
        taken = sum(self.each_pass + self.sample * count * (1 + count / 20) for count in counts)
        self.time += taken
        return taken


def find(num_samples: int = 640, batch_size: int = 64) -> int:
    trainer, _ = make_trainer(make_task(num_samples), make_recipe(batch_size=batch_size))
    return trainer.search.find(trainer.recipe.stages[0])[0]


@pytest.mark.parametrize(("each_pass", "expected"), [(0.4, 64), (0.05, 32), (0.0128, 16), (0.0032, 8)])
def test_whole_batches_are_compared(each_pass: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes(monkeypatch, each_pass=each_pass, sample=0.001)
    assert find() == expected
    # Of a batch's many samples, not of the few that were computed first.
    assert len(passes.samples[-1]) == 64
    assert passes.time < 10


def test_a_step_that_takes_very_long_is_compared_on_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes(monkeypatch, each_pass=0.001, sample=0.5)
    assert find() < 4
    assert max(map(len, passes.samples)) == 4
    assert passes.time < 20


def test_where_the_most_that_could_be_compared_is_fastest_larger_ones_are_taken_to_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes = Passes(monkeypatch, each_pass=2.0, sample=0.1)
    assert find() == 64
    assert max(map(len, passes.samples)) < 64


def test_a_size_that_runs_out_of_memory_in_the_comparison_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    Passes(monkeypatch, each_pass=0.1, sample=0.001, most=20)
    assert find() == 16


def test_what_sizes_are_compared_on_is_as_long_as_a_batch() -> None:
    trainer, _ = make_trainer(make_task(800), make_recipe(batch_size=64))
    search = trainer.search
    search._costs = np.random.default_rng(0).permutation(800)
    share = search._costs[_spaced(search._pool(), 64)]
    assert (np.diff(share) < 0).all()
    # Of lengths 0 to 799 the longest and the shortest of 64 are on average 1/65 from the ends.
    assert share[0] > 780
    assert share[-1] < 20
    assert abs(share.mean() - 400) < 20


def test_the_time_of_several_threads_is_that_on_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, _ = make_trainer(make_task(), make_recipe())
    search, samples = trainer.search, np.arange(8)
    monkeypatch.setattr(size_search.time, "thread_time", iter([1.0, 3.0]).__next__)
    monkeypatch.setattr(size_search.time, "perf_counter", iter([1.0, 6.0]).__next__)
    for threads, expected in ((1, 2.0), (2, 5.0)):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=threads: count)
        assert search._seconds(samples, 4, trainer.recipe.stages[0]) == expected


def test_ranks_whose_timings_differ_take_one_size(tmp_path: Path) -> None:
    assert run_group(2, tmp_path / "output", unequal, tmp_path) == [0, 0]
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["16", "16"]


def unequal(folder: Path) -> int:
    """As one of two ranks: find a size where each pass costs the second rank much more."""
    ranks = make_world()
    with pytest.MonkeyPatch.context() as patch:
        if ranks.rank == 0:
            Passes(patch, each_pass=0.001, sample=0.001)  # 4 would be its best
        else:
            Passes(patch, each_pass=0.03, sample=0.001)  # 32
        plan = replace(PLAN, world_size=2, share_weights=(1.0, 1.0))
        trainer, _ = make_trainer(make_task(640), make_recipe(batch_size=64), plan=plan, ranks=ranks)
        size = trainer.search.find(trainer.recipe.stages[0])[0]
    (folder / str(ranks.rank)).write_text(str(size))
    return 0


class BatchStatistics(nn.Module):
    """A model that normalises over its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layers(inputs)


def test_the_probe_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(51, name="with batch statistics")
    task.build_model = BatchStatistics  # type: ignore[method-assign]
    trainer, _ = make_trainer(task, make_recipe(batch_size=51), plan=PLAN)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    # Of a size that leaves a single sample over, of which there are no batch statistics.
    monkeypatch.setattr(size_search, "fastest_size", lambda *arguments, **options: 1 / 0)
    trainer.choose_micro_batch(make_recipe().stages[0])
    assert trainer.state.limit.limit == 51
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_the_choice_is_made_again_after_a_resume_elsewhere() -> None:
    recipe = make_recipe(Stage(name="only", epochs=1))
    trainer, _ = make_trainer(make_task(), recipe, plan=PLAN)
    limit = trainer.state.limit
    assert not limit.is_chosen
    limit.restore({**limit.state(), "key": "of another machine", "limit": 3, "ceiling": 3})
    trainer.run()
    assert limit.is_chosen
    assert limit.bytes_per_sample is not None


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

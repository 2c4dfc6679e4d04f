"""Memory that really runs out on a GPU, by a fraction of it that the process may take: as on CPUs, with late outcomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from slipway.training.batches.order import Order
from slipway.training.devices.memory import MemoryReserve, free_bytes, is_out_of_memory
from slipway.training.devices.ranks import Ranks
from tests.training.starved import BATCH_SIZE, MIB, Case, run_case

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

ENOUGH = Case(name="enough", forward_mib=32, micro_batch_size=BATCH_SIZE)
SAMPLE = int(Order(seed=0, num_samples=50).batch(0, 1, BATCH_SIZE)[0])


def limit_device(margin_mib: float | None) -> None:
    """Let this process allocate so much more on the device, or without a limit again."""
    torch.cuda.empty_cache()
    fraction = 1.0
    if margin_mib is not None:
        total = torch.cuda.get_device_properties(0).total_memory
        fraction = min(1.0, (torch.cuda.memory_reserved() + margin_mib * MIB) / total)
    torch.cuda.set_per_process_memory_fraction(fraction)


@pytest.fixture(autouse=True)
def whole_device() -> Iterator[None]:
    """The device's memory is free before and after."""
    limit_device(None)
    yield
    limit_device(None)


def run(case: Case) -> dict[str, Any]:
    return run_case(case, Ranks.alone("cuda"), limit=limit_device)


@pytest.mark.parametrize(
    "case",
    [
        replace(ENOUGH, name="forward", rank=0, margin_mib=300, from_step=1),
        replace(ENOUGH, name="forward, for a while", rank=0, margin_mib=300, from_step=1, to_step=4),
        Case(name="backward", backward_mib=32, rank=0, margin_mib=300, from_step=1),
        Case(name="long sample", forward_mib=8, long_sample=SAMPLE, rank=0, margin_mib=350),
        Case(name="moving average", forward_mib=32, rank=0, margin_mib=300, from_step=1, options={"ema_decay": 0.9}),
    ],
    ids=lambda case: case.name,
)
def test_a_device_that_runs_out_of_memory_changes_nothing_but_the_micro_batches(case: Case) -> None:
    enough = run(replace(case, rank=None))
    found = run(case)
    assert enough["out_of_memory"] == []
    assert found["error"] is None
    assert found["steps"] == [1, 2, 3, 4, 5, 6]
    assert 1 <= len(found["out_of_memory"]) <= 4
    assert "out of memory" in found["reasons"][0]
    difference = (found["values"] - enough["values"]).abs().max() / enough["values"].abs().max()
    assert difference <= 1e-10


def test_an_evaluation_that_does_not_fit_is_done_in_smaller_batches() -> None:
    case = Case(name="evaluation", evaluation_mib=64, rank=0, margin_mib=300)
    enough, found = run(replace(case, rank=None)), run(case)
    assert found["evaluation_batch_size"] < enough["evaluation_batch_size"]
    assert found["test_loss"] == pytest.approx(enough["test_loss"], rel=1e-10)
    assert torch.equal(found["values"], enough["values"])


def test_a_run_begins_with_a_size_that_fits() -> None:
    found = run(replace(ENOUGH, name="auto", micro_batch_size=None, rank=0, margin_mib=400))
    assert found["out_of_memory"] == []
    assert max(found["micro_batches"]) > 1


def test_a_sample_that_does_not_fit_is_named() -> None:
    found = run(replace(ENOUGH, name="too long", long_sample=SAMPLE, rank=0, margin_mib=900))
    assert found["error"].startswith(
        f"sample {SAMPLE} of the training split (length 32) does not fit in memory by itself"
    )
    assert "Tried to allocate 1024.00 MiB" in found["error"] or "Tried to allocate 1.00 GiB" in found["error"]


def test_what_the_allocator_holds_back_counts_as_free() -> None:
    device = torch.device("cuda")
    before = free_bytes(device)
    held = torch.empty(256 * MIB, dtype=torch.uint8, device=device)
    taken = free_bytes(device)
    del held  # the allocator keeps it
    assert before is not None
    assert taken is not None
    assert before - taken > 200 * MIB
    assert abs(before - (free_bytes(device) or 0)) < 50 * MIB


def test_the_reserve_is_there_when_the_device_is_full() -> None:
    reserve = MemoryReserve(torch.device("cuda"))
    limit_device(2)
    taken = []

    def fill() -> None:
        while True:
            taken.append(torch.empty(MIB, dtype=torch.uint8, device="cuda"))

    with pytest.raises(torch.OutOfMemoryError) as caught:
        fill()
    assert is_out_of_memory(caught.value)
    reserve.release()
    taken.append(torch.empty(4 * MIB, dtype=torch.uint8, device="cuda"))

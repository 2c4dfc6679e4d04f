"""Threads of OpenMP take turns on half of the cores without a change in what they compute."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch

from slipway.training.devices.sharing.control import CoreControl
from slipway.training.devices.sharing.openmp import Team, gnu_openmp
from tests.limits import HANG_SECONDS

CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
needs_gnu_openmp = pytest.mark.skipif(gnu_openmp() is None or len(CORES) < 2, reason="no GNU OpenMP, or one core")

SCRIPT = """
import os
import torch
from slipway.training.devices.sharing.openmp import Team, gnu_openmp

torch.set_num_threads(2)
numbers = torch.rand(1 << 20, generator=torch.Generator().manual_seed(0))
alone = numbers.sum()
library = gnu_openmp()
team = Team(library, 1)
cores = sorted(os.sched_getaffinity(0))
with team.gathered():
    assert {frozenset(os.sched_getaffinity(thread)) for thread in team.threads} == {frozenset(cores[1:2])}
    assert torch.equal(numbers.sum(), alone)
    with team.released():
        assert os.sched_getaffinity(0) == set(cores)
    assert os.sched_getaffinity(0) == set(cores[1:2])
assert {frozenset(os.sched_getaffinity(thread)) for thread in team.threads} == {frozenset(cores)}
assert len(team.threads) == len(set(team.threads)) == 2
"""


@needs_gnu_openmp
def test_gathered_threads_compute_the_same_bits_and_are_released_after_the_step() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=HANG_SECONDS)


@needs_gnu_openmp
def test_a_step_that_fails_leaves_the_threads_on_all_cores() -> None:
    library = gnu_openmp()
    assert library is not None
    team = Team(library, 0)
    with pytest.raises(ValueError, match="of the step"), team.gathered():
        raise ValueError("of the step")
    assert os.sched_getaffinity(threading.get_native_id()) == CORES
    assert torch.ones(10).sum() == 10


def test_batches_are_handed_through_in_order_where_nothing_is_gathered() -> None:
    assert list(CoreControl().between(iter([1, 2, 3]))) == [1, 2, 3]

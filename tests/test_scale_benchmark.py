"""The model of many processes: its formulas by hand, and the code that hands out samples at the size of a large cluster."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.scale_model import (
    Link,
    Network,
    Workload,
    double_tree,
    efficiency,
    expected_maximum,
    exposed_seconds,
    most_useful,
    predict,
    ring,
    tree,
)
from benchmarks.virtual_ranks import NUM_RANKS, NUM_SAMPLES, run_virtual_ranks
from slipway.training.batches.share import rank_positions

LINK = Link(latency_seconds=1e-3, bytes_per_second=1e6)
NETWORK = Network(name="slow", link=LINK)
WORK = Workload(
    name="model",
    gradient_bytes=1e5,
    batch_size=64,
    fixed_seconds=0.1,
    sample_seconds=0.01,
    spread=0.0,
    num_buckets=None,
)


def test_an_all_reduce_of_two_ranks_is_what_one_computes_by_hand() -> None:
    # A ring of two: half there and half back, twice. A tree: all of it up, all of it down.
    assert ring(LINK, 2, 4000) == pytest.approx(2 * (1e-3 + 2000 / 1e6))
    assert tree(LINK, 2, 4000) == pytest.approx(2 * (1e-3 + 4000 / 1e6))
    assert double_tree(LINK, 2, 4000) == pytest.approx(2e-3 + 8000 / 1e6)


def test_one_rank_sends_nothing() -> None:
    assert ring(LINK, 1, 4000) == tree(LINK, 1, 4000) == double_tree(LINK, 1, 4000) == 0.0
    assert predict(WORK, NETWORK, 1).total == pytest.approx(0.1 + 64 * 0.01)


def test_a_tree_is_faster_for_small_messages_and_a_ring_for_large_ones() -> None:
    # 16 ranks: 30 alpha + 30/16 n beta against 8 alpha + 8 n beta: equal at n = 22/6.125 alpha/beta, 3592 bytes.
    crossover = 22 / 6.125 * 1e-3 * 1e6
    assert ring(LINK, 16, crossover) == pytest.approx(tree(LINK, 16, crossover))
    assert ring(LINK, 16, crossover * 0.9) > tree(LINK, 16, crossover * 0.9)
    assert ring(LINK, 16, crossover * 1.1) < tree(LINK, 16, crossover * 1.1)


def test_hosts_reduce_inside_first_and_send_a_part_each_between_them() -> None:
    fast = Link(latency_seconds=1e-6, bytes_per_second=1e9)
    hosts = replace(NETWORK, local=fast, processes_per_host=4)
    assert hosts.all_reduce_seconds(4, 4000) == pytest.approx(ring(fast, 4, 4000))
    assert hosts.all_reduce_seconds(8, 4000) == pytest.approx(ring(fast, 4, 4000) + ring(LINK, 2, 1000))


@pytest.mark.parametrize(("count", "expected"), [(1, 0.0), (2, np.pi**-0.5), (3, 1.5 * np.pi**-0.5), (1000, 3.2414)])
def test_the_expected_maximum_is_that_of_the_tables(count: int, expected: float) -> None:
    assert expected_maximum(count) == pytest.approx(expected, abs=1e-3)


def test_the_slowest_of_two_ranks_is_waited_for() -> None:
    step = predict(replace(WORK, spread=0.1), NETWORK, 2)
    assert step.waiting == pytest.approx(0.42 * 0.1 * np.pi**-0.5, rel=1e-3)


def test_the_backward_pass_hides_all_but_the_last_buckets() -> None:
    # Two ranks, 2 ms + n beta a bucket: those complete at 5 and 10 ms, and the one of no bytes that follows.
    assert exposed_seconds(NETWORK, 2, [1000, 1000, 0], 0.010) == pytest.approx(0.003 + 0.002)
    # Where the network is slower than the pass, what is sent first delays what follows.
    assert exposed_seconds(NETWORK, 2, [8000, 8000, 0], 0.010) == pytest.approx(0.005 + 0.010 + 0.010 + 0.002 - 0.010)
    flat = predict(WORK, NETWORK, 4).communication
    assert predict(replace(WORK, num_buckets=8), NETWORK, 4).communication < flat


def test_only_the_last_micro_batch_hides_anything() -> None:
    whole = replace(WORK, num_buckets=8, gradient_bytes=4e5)
    assert (
        predict(replace(whole, micro_batch_size=1), NETWORK, 4).communication > predict(whole, NETWORK, 4).communication
    )


def test_the_most_useful_count_is_the_last_that_is_half_as_efficient_as_one_process() -> None:
    count = most_useful(WORK, NETWORK)
    assert efficiency(WORK, NETWORK, count) >= 0.5
    assert all(efficiency(WORK, NETWORK, more) < 0.5 for more in range(count + 1, 65))
    without = replace(WORK, fixed_seconds=0.0, gradient_bytes=0.0)
    at_once = Network(name="none", link=Link(latency_seconds=0.0, bytes_per_second=1e12))
    assert most_useful(without, at_once) == 64, "a process without a sample is of no use"


def test_4096_ranks_share_a_billion_samples_in_little_memory() -> None:
    world = run_virtual_ranks(NUM_RANKS, NUM_SAMPLES, every=512)
    assert world.samplers == 8
    assert world.steps[-1] == -(-NUM_SAMPLES // (2 * NUM_RANKS)) - 1
    assert world.peak_bytes < 20e6


def test_shares_that_change_do_not_pile_up_in_memory() -> None:
    tracemalloc.start()
    for change in range(40):
        rank_positions(100_000, 0, (1.0 + change, *[1.0] * 15))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 25e6, "800 kB for each of the last 16, and what one takes to make"

"""The order of samples is a permutation, keyed, uniform, and the same however it is read."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.training.batches.order import BatchReader, Order


@settings(max_examples=60, deadline=None)
@given(num_samples=st.integers(1, 3000), seed=st.integers(0, 2**40), epoch=st.integers(0, 2**20))
def test_every_sample_comes_exactly_once_in_an_epoch(num_samples: int, seed: int, epoch: int) -> None:
    indices = Order(seed=seed, num_samples=num_samples).indices(epoch, 0, num_samples)
    assert np.array_equal(np.sort(indices), np.arange(num_samples))


@settings(max_examples=40, deadline=None)
@given(
    num_samples=st.integers(1, 500),
    batch_size=st.integers(1, 70),
    block_size=st.integers(1, 200),
    epoch=st.integers(0, 5),
)
def test_batches_are_the_order_split_in_turn_and_only_the_last_is_short(
    num_samples: int, batch_size: int, block_size: int, epoch: int
) -> None:
    order = Order(seed=3, num_samples=num_samples)
    reader = BatchReader(order, batch_size, block_size, first_block_size=block_size // 4)
    batches = [reader.batch(epoch, step) for step in range(order.num_steps(batch_size))]
    assert np.array_equal(np.concatenate(batches), order.indices(epoch, 0, num_samples))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= batch_size
    middle = len(batches) // 2
    assert np.array_equal(order.batch(epoch, middle, batch_size), batches[middle])
    # A jump back, and on from there; and another epoch.
    assert [reader.batch(epoch, step).tolist() for step in range(middle, len(batches))] == [
        batch.tolist() for batch in batches[middle:]
    ]
    assert np.array_equal(reader.batch(epoch + 1, middle), order.batch(epoch + 1, middle, batch_size))


def test_a_position_far_away_is_reached_without_the_ones_before() -> None:
    far = Order(seed=1, num_samples=10**12).batch(epoch=4, step=10**9, batch_size=8)
    assert len(set(far.tolist())) == 8
    assert far.min() >= 0
    assert far.max() < 10**12


def test_epochs_and_seeds_shuffle_differently() -> None:
    first = Order(seed=1, num_samples=1000).indices(0, 0, 1000)
    for other in (
        Order(seed=1, num_samples=1000).indices(1, 0, 1000),
        Order(seed=2, num_samples=1000).indices(0, 0, 1000),
    ):
        # Two independent permutations agree in about one place.
        assert (first == other).sum() < 10


@pytest.mark.parametrize("num_samples", [3, 4, 5, 6])
def test_all_permutations_of_a_few_samples_are_equally_likely(num_samples: int) -> None:
    draws, count = 4000, math.factorial(num_samples)
    seen = Counter(
        tuple(Order(seed=seed, num_samples=num_samples).indices(0, 0, num_samples).tolist()) for seed in range(draws)
    )
    expected = draws / count
    chi_squared = sum((seen.get(key, 0) - expected) ** 2 / expected for key in seen) + (count - len(seen)) * expected
    degrees = count - 1
    # Five standard deviations above the mean of a chi-squared distribution.
    assert chi_squared < degrees + 5 * math.sqrt(2 * degrees)


def test_neighbours_in_the_order_are_not_neighbours_in_the_data() -> None:
    indices = Order(seed=9, num_samples=10_000).indices(0, 0, 10_000)
    correlation = np.corrcoef(indices[:-1], indices[1:])[0, 1]
    assert abs(correlation) < 0.05
    assert (np.abs(np.diff(indices)) == 1).mean() < 0.002

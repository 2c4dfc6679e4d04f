"""A global batch is shared without losing or doubling a sample."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.training.batches.share import micro_batches, rank_positions
from slipway.training.common.apportion import apportion

weights_strategy = st.lists(st.floats(0, 10), min_size=1, max_size=6).filter(lambda values: sum(values) > 0.01)


@settings(max_examples=100, deadline=None)
@given(num_samples=st.integers(0, 200), weights=weights_strategy)
def test_every_position_has_exactly_one_owner(num_samples: int, weights: list[float]) -> None:
    parts = [rank_positions(num_samples, rank, tuple(weights)) for rank in range(len(weights))]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(num_samples))
    assert [len(part) for part in parts] == apportion(num_samples, weights)


@settings(max_examples=100, deadline=None)
@given(num_samples=st.integers(0, 200), weights=weights_strategy)
def test_a_share_is_within_one_sample_of_its_weight(num_samples: int, weights: list[float]) -> None:
    ideal = np.asarray(weights) * num_samples / sum(weights)
    assert (np.abs(apportion(num_samples, weights) - ideal) < 1 + 1e-6).all()


def test_a_rank_of_weight_zero_owns_nothing() -> None:
    assert len(rank_positions(33, 0, (0.0, 1.0))) == 0
    assert len(rank_positions(33, 1, (0.0, 1.0))) == 33


def test_ranks_take_turns_so_that_each_gets_long_and_short_samples() -> None:
    lengths = np.arange(100, 0, -1)
    first, second = (lengths[rank_positions(100, rank, (1.0, 1.0))] for rank in (0, 1))
    assert abs(first.mean() - second.mean()) < 2
    heavy, light = (lengths[rank_positions(100, rank, (3.0, 1.0))] for rank in (0, 1))
    assert len(heavy) == 75
    assert abs(heavy.mean() - light.mean()) < 2


@settings(max_examples=100, deadline=None)
@given(num_samples=st.integers(0, 100), limit=st.one_of(st.none(), st.integers(1, 120)))
def test_micro_batches_cover_a_share_in_the_fewest_even_runs(num_samples: int, limit: int | None) -> None:
    parts = micro_batches(num_samples, limit)
    covered = [position for part in parts for position in range(part.start, part.stop)]
    assert covered == list(range(num_samples))
    sizes = [part.stop - part.start for part in parts]
    if limit is not None and sizes:
        assert max(sizes) <= limit
        assert len(sizes) == -(-num_samples // limit)
    assert not sizes or max(sizes) - min(sizes) <= 1

"""Shares of the classes in an epoch: exact, evenly over the samples of a class, and the same however they are read."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.training.batches.class_order import ClassOrder, make_order
from slipway.training.batches.order import Order, permute, permute_each
from slipway.training.common.keyed_random import fold, fold_array, sample_keys
from tests.training.helpers import make_recipe, make_task

COUNTS = st.lists(st.integers(0, 60), min_size=1, max_size=8).filter(any)


def labels_of(counts: list[int]) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


@settings(max_examples=60, deadline=None)
@given(counts=COUNTS, seed=st.integers(0, 2**40), epochs=st.integers(1, 6), square_root=st.booleans())
def test_classes_have_their_shares_and_samples_of_a_class_take_turns(
    counts: list[int], seed: int, epochs: int, square_root: bool
) -> None:
    labels = labels_of(counts)
    order = ClassOrder.of(labels, seed=seed, square_root=square_root)
    uses = np.zeros(len(labels), dtype=int)
    weights = np.array(counts) ** (0.5 if square_root else 0.0) * (np.array(counts) > 0)
    for epoch in range(epochs):
        samples = order.indices(epoch, 0, len(labels)) % len(labels)
        assert len(samples) == len(labels)
        uses += np.bincount(samples, minlength=len(labels))
        shares = (epoch + 1) * len(labels) * weights / weights.sum()
        drawn = np.bincount(labels, weights=uses, minlength=len(counts))
        assert (np.abs(drawn - shares) < 1 + 1e-3).all()
        for number in np.unique(labels):
            of_class = uses[labels == number]
            assert of_class.max() - of_class.min() <= 1


@settings(max_examples=30, deadline=None)
@given(counts=COUNTS, batch_size=st.integers(1, 50), epoch=st.integers(0, 2**20))
def test_any_step_is_reached_without_the_ones_before(counts: list[int], batch_size: int, epoch: int) -> None:
    order = ClassOrder.of(labels_of(counts), seed=3)
    complete = order.indices(epoch, 0, order.num_samples)
    for step in reversed(range(order.num_steps(batch_size))):
        assert np.array_equal(order.batch(epoch, step, batch_size), complete[step * batch_size :][:batch_size])


def test_a_sample_that_is_drawn_again_in_an_epoch_gets_another_key() -> None:
    order = ClassOrder.of(labels_of([95, 5]), seed=1)
    draws = order.indices(0, 0, 100)
    repeated = Counter((draws % 100).tolist())
    assert max(repeated.values()) == 10
    assert len(set(sample_keys(1, 0, draws).tolist())) == 100
    # The first time it has the key that it always had.
    once = draws < 100
    assert np.array_equal(sample_keys(1, 0, draws)[once], sample_keys(1, 0, (draws % 100)[once]))


def test_each_epoch_and_each_seed_has_an_order_of_its_own() -> None:
    labels = labels_of([30, 20, 5])
    drawn = [ClassOrder.of(labels, seed=seed).indices(epoch, 0, 55).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(map(tuple, drawn))) == 4
    assert drawn[0] != sorted(drawn[0])


def test_permutations_of_many_sizes_and_keys_at_once_are_those_of_each_alone() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(1, 300, 500)
    places = random.integers(0, sizes)
    keys = fold_array(fold(7), np.arange(500))
    assert keys.tolist() == [fold(7, number) for number in range(500)]
    alone = [
        int(permute(np.array([place]), int(size), int(key))[0])
        for place, size, key in zip(places, sizes, keys, strict=True)
    ]
    assert permute_each(places, sizes, keys).tolist() == alone


def test_a_recipe_that_does_not_sample_has_the_order_of_before() -> None:
    task = make_task()
    assert make_order(make_recipe(seed=4), task) == Order(seed=4, num_samples=50)
    balanced = make_order(make_recipe(sampling="balanced"), task).indices(0, 0, 50) % 50
    assert set(np.bincount(task.labels("train")[balanced])) <= {12, 13}

"""What the samples draw follows from their keys, whichever generators they draw from, and moves nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from slipway.training.tasks.samples import random_state
from slipway.training.tasks.samples.random_state import generator_states, seed_generators, set_generators
from slipway.training.tasks.samples.sources import ItemSource

DRAWS: dict[str, Callable[[], float]] = {
    "torch": lambda: float(torch.rand(())),
    "torch normal": lambda: float(torch.randn(())),
    "numpy": np.random.random,
    "numpy normal": np.random.standard_normal,
    "python": random.random,
    "python normal": lambda: random.gauss(0, 1),
}


class Rare:
    """Samples of which some draw, each kind from another generator."""

    def __init__(self, kinds: Sequence[str | None]) -> None:
        self.kinds = kinds

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(self, index: int) -> float:
        kind = self.kinds[index]
        return 0.0 if kind is None else DRAWS[kind]()


@pytest.mark.parametrize("kind", DRAWS)
def test_a_single_draw_is_seen_and_undone_also_of_a_normal_that_was_kept(kind: str) -> None:
    seed_generators(3)
    for _ in range(3):
        before = generator_states()
        assert before == generator_states()
        drawn = DRAWS[kind]()
        assert before != generator_states()
        set_generators(before)
        assert before == generator_states()
        assert DRAWS[kind]() == drawn


def test_a_sample_draws_the_same_alone_and_after_any_others() -> None:
    kinds = [None, "numpy", None, "torch normal", "numpy normal", None, "python", "torch", "python normal", "numpy"]
    keys = [1000 + number for number in range(len(kinds))]
    expected = []
    for number, (kind, key) in enumerate(zip(kinds, keys, strict=True)):
        seed_generators(key)
        expected.append(0.0 if kind is None else DRAWS[kind]())
        assert ItemSource(Rare(kinds), None, "train").fetch([number], [key]).tolist() == [expected[number]]
    generator = np.random.default_rng(0)
    for _ in range(5):
        source, found = ItemSource(Rare(kinds), None, "train"), [0.0] * len(kinds)
        seed_generators(7)
        np.random.standard_normal()
        before: Any = generator_states()
        for part in np.array_split(generator.permutation(len(kinds)), 4):
            batch = source.fetch(part.tolist(), [keys[number] for number in part])
            for number, value in zip(part, batch.tolist(), strict=True):
                found[number] = value
        assert found == expected
        assert before == generator_states()


@pytest.mark.parametrize("is_in_memory", [True, False], ids=["state in memory", "state as an object"])
def test_pythons_generator_is_put_back_whole(is_in_memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_in_memory:
        assert random_state._PYTHON_AT is not None, "CPython keeps it where it is looked for"
    else:
        monkeypatch.setattr(random_state, "_PYTHON_AT", None)
    random.seed(1)
    random.gauss(0, 1)  # which keeps another
    before, states = random.getstate(), generator_states()
    drawn = [random.gauss(0, 1), random.random()]
    assert generator_states() != states
    set_generators(states)
    assert random.getstate() == before
    assert [random.gauss(0, 1), random.random()] == drawn

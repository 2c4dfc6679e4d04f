"""The generators from which samples draw, torch's, numpy's and Python's: set for each sample, and put back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

State = tuple[torch.Tensor, Any, Any]


def seed_generators(key: int, device: torch.device | None = None) -> None:
    """Set the three generators by a key of 64 bits, and those of devices only if a device other than the host is given."""
    seed = key & (2**63 - 1)
    # `torch.manual_seed` also notes a call with the stack of its caller for each kind of device that is not in use: a
    # millisecond, and memory that is never freed.
    torch.default_generator.manual_seed(seed)
    if device is not None and device.type != "cpu":
        module = torch.get_device_module(device)
        getattr(module, "manual_seed_all", module.manual_seed)(seed)
    np.random.seed(key & (2**32 - 1))
    random.seed(key)


def generator_states() -> State:
    """Return the states of the three generators."""
    return torch.default_generator.get_state(), np.random.get_state(legacy=False), random.getstate()


def set_generators(states: State) -> None:
    """Put the three generators back to what `generator_states` returned."""
    in_torch, in_numpy, in_python = states
    torch.default_generator.set_state(in_torch)
    np.random.set_state(in_numpy)
    random.setstate(in_python)


def are_equal(first: State, second: State) -> bool:
    """Return whether nothing was drawn between two states."""
    ours, theirs = first[1]["state"], second[1]["state"]
    return (
        first[2] == second[2]
        and ours["pos"] == theirs["pos"]
        and bool((ours["key"] == theirs["key"]).all())
        and torch.equal(first[0], second[0])
    )


@contextmanager
def kept_generators() -> Iterator[None]:
    """Put the three generators back at the end: what samples draw moves nothing that the model draws from."""
    before = generator_states()
    try:
        yield
    finally:
        set_generators(before)

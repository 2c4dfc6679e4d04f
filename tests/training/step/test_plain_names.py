"""A compiled model has the names of the plain one wherever it is saved, and reads them back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from slipway.training.step.flat import FlatParameters


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)))


def whole() -> nn.Module:
    return torch.compile(plain(), backend="eager")  # type: ignore[return-value]


def in_parts() -> nn.Module:
    model = plain()
    model[1][1] = torch.compile(model[1][1], backend="eager")  # type: ignore[index, operator]
    model[1] = torch.compile(model[1], backend="eager")  # type: ignore[operator]
    return model


@pytest.mark.parametrize("make", [plain, whole, in_parts])
def test_the_saved_weights_load_strictly_into_the_plain_module_and_back(make: type) -> None:
    model, other = make(), make()
    store = FlatParameters(model, 1)
    state = {name: tensor.clone() for name, tensor in store.state_dict(model).items()}
    plain().load_state_dict(state, strict=True)
    FlatParameters(other, 1).load_state_dict(other, state)
    for before, after in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(before, after)


def test_weights_saved_with_the_names_of_a_compiled_model_are_read() -> None:
    model, saved = whole(), whole().state_dict()
    FlatParameters(model, 1).load_state_dict(model, saved)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in saved.items())


def test_a_part_that_only_has_the_name_keeps_it() -> None:
    model = nn.Module()
    model._orig_mod = nn.Linear(2, 2)
    assert "_orig_mod.weight" in FlatParameters(model, 1).state_dict(model)

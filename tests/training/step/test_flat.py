"""Flat parameters are the model's own, seen as one vector."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from slipway.training.common.errors import UserError
from slipway.training.step.flat import FlatParameters


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 5)
        self.unused = nn.Linear(2, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.first(inputs)


def test_values_and_gradients_are_views_of_one_buffer() -> None:
    torch.manual_seed(0)
    model = Model()
    inputs, before = torch.randn(4, 3), model.first.weight.detach().clone()
    expected = torch.autograd.grad(model(inputs).sum(), model.first.weight)[0]
    flat = FlatParameters(model, 2)
    assert torch.equal(model.first.weight, before)
    model(inputs).sum().backward()
    assert torch.equal(flat.gradients[:15].view(5, 3), expected)
    flat.values.add_(1.0)
    assert torch.equal(model.first.weight, before + 1.0)
    assert flat.num_parameters == 20 + 6
    flat.check_attached()


def test_a_parameter_that_takes_no_part_has_a_zero_gradient() -> None:
    model = Model()
    FlatParameters(model, 2)
    model(torch.randn(4, 3)).sum().backward()
    assert model.unused.weight.grad is not None
    assert not model.unused.weight.grad.any()


def test_other_values_are_used_for_a_while_only() -> None:
    model = Model()
    flat = FlatParameters(model, 2)
    own = flat.values.clone()
    with flat.temporarily(torch.full_like(own, 7.0)):
        assert model.first.weight[0, 0] == 7.0
    assert torch.equal(flat.values, own)


def test_a_parameter_moved_out_is_noticed() -> None:
    model = Model()
    flat = FlatParameters(model, 2)
    model.first.weight.data = model.first.weight.data.clone()
    with pytest.raises(RuntimeError, match="moved"):
        flat.check_attached()


def test_mixed_types_and_nothing_to_train_are_refused() -> None:
    model = Model()
    model.unused.double()
    with pytest.raises(UserError, match=r"unused\.weight is torch\.float64"):
        FlatParameters(model, 2)
    model = Model().requires_grad_(False)
    with pytest.raises(UserError, match="no trainable parameter"):
        FlatParameters(model, 2)

"""A dropout that draws by the sample: the same in any batch, by the probability asked for; what else draws is seen."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import slipway
from slipway.training.common.errors import UserError
from slipway.training.common.keyed_dropout import Dropout, may_draw, number_dropouts

KEYS = torch.arange(12) * 0x9E3779B97F4A7C1 + 5


def drop(inputs: torch.Tensor, keys: torch.Tensor | None, p: float = 0.3) -> torch.Tensor:
    module = Dropout(p)
    module.keys = keys
    return module(inputs)


def test_a_sample_loses_the_same_in_any_batch_and_at_any_padding() -> None:
    inputs = torch.rand(12, 7, 5) + 1.0
    whole = drop(inputs, KEYS)
    parts = torch.cat([drop(inputs[:5], KEYS[:5]), drop(inputs[5:], KEYS[5:])])
    assert torch.equal(whole, parts)
    assert torch.equal(whole[:, :4], drop(inputs[:, :4], KEYS))


def test_the_share_and_the_mean_are_those_of_torch() -> None:
    inputs = torch.ones(12, 40_000, dtype=torch.float64)
    outputs = drop(inputs, KEYS)
    assert float((outputs == 0).double().mean()) == pytest.approx(0.3, abs=0.005)
    assert float(outputs.mean()) == pytest.approx(1.0, abs=0.005)
    masks = outputs == 0
    assert len(masks.unique(dim=0)) == 12
    assert float((masks[0] & masks[1]).double().mean()) == pytest.approx(0.09, abs=0.01)


def test_each_place_of_a_model_has_masks_of_its_own() -> None:
    model = nn.Sequential(Dropout(), nn.Sequential(Dropout()))
    dropouts = number_dropouts(model)
    for one in dropouts:
        one.keys = KEYS
    first, second = (one(torch.ones(12, 64)) for one in dropouts)
    assert not torch.equal(first, second)


def test_outside_of_a_training_and_in_evaluation_it_is_torchs() -> None:
    inputs = torch.ones(6, 50)
    torch.manual_seed(3)
    expected = F.dropout(inputs, 0.3)
    torch.manual_seed(3)
    assert torch.equal(drop(inputs, None), expected)
    assert torch.equal(Dropout(0.9).eval()(inputs), inputs)
    assert torch.equal(drop(inputs, KEYS[:6], 1.0), torch.zeros_like(inputs))
    assert torch.equal(drop(inputs, KEYS[:6], 0.0), inputs)


def test_what_it_cannot_key_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"inputs of \[7, 12\] for 12 samples; its first dimension must be the samples"):
        drop(torch.ones(7, 12), KEYS)
    with pytest.raises(ValueError, match="from 0 to 1"):
        Dropout(1.5)


class Foreign(nn.Module):
    """May do anything in its forward pass."""


@pytest.mark.parametrize(
    ("model", "draws"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU()), (False, False)),
        (nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)), (True, True)),
        (nn.LSTM(2, 2), (True, True)),
        (nn.TransformerEncoderLayer(4, 2), (True, True)),
        (nn.Sequential(Foreign()), (True, False)),
        (nn.Sequential(slipway.nn.Dropout(0.2)), (False, False)),
    ],
)
def test_what_may_draw_is_seen_by_its_modules(model: nn.Module, draws: tuple[bool, bool]) -> None:
    assert (may_draw(model, is_keyed=False), may_draw(model, is_keyed=True)) == draws

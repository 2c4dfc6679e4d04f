"""Fingerprints tell models and samples apart, and say nothing of what does not matter."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from slipway.training.tasks import fingerprint
from slipway.training.tasks.fingerprint import (
    model_fingerprint,
    samples_fingerprint,
    tensors_fingerprint,
    weights_fingerprint,
)


class Named(nn.Module):
    """Its text holds the address of an object."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def extra_repr(self) -> str:
        return f"activation={object()!r}"


def test_weights_and_addresses_do_not_tell_models_apart() -> None:
    assert model_fingerprint(nn.Linear(3, 2)) == model_fingerprint(nn.Linear(3, 2))
    assert model_fingerprint(Named()) == model_fingerprint(Named())


def test_sizes_layers_dtypes_buffers_and_what_is_frozen_do() -> None:
    frozen = nn.Linear(3, 2)
    frozen.bias.requires_grad_(False)
    with_buffer = nn.Linear(3, 2)
    with_buffer.register_buffer("mean", torch.zeros(3))
    models = [
        nn.Linear(3, 2), nn.Linear(3, 2, bias=False), nn.Linear(2, 3), nn.Linear(3, 2).double(), frozen, with_buffer,
        nn.Sequential(nn.Linear(3, 2), nn.ReLU()), nn.Sequential(nn.Linear(3, 2), nn.GELU()),
        nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.1)), nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.2)),
    ]  # fmt: skip
    assert len({model_fingerprint(model) for model in models}) == len(models)


def test_first_weights_tell_models_apart_and_their_last_digits_do_not() -> None:
    def model(seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 20), nn.BatchNorm1d(20), nn.Linear(20, 2))

    changed, turned, rounded, other_buffer = model(), model(), model(), model()
    with torch.no_grad():
        changed[0].weight[7, 1] += 0.5
        turned[0].weight.copy_(turned[0].weight.flip(0))
        for parameter in rounded.parameters():
            parameter.mul_(1 + 1e-7)
    other_buffer[1].running_mean.fill_(0.1)
    assert weights_fingerprint(model()) == weights_fingerprint(model()) == weights_fingerprint(rounded)
    assert len({weights_fingerprint(one) for one in (model(), model(1), changed, turned, other_buffer)}) == 5


def test_of_large_weights_numbers_all_over_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_MOST_NUMBERS", 10)
    model = nn.Linear(1000, 1)
    before = weights_fingerprint(model)
    with torch.no_grad():
        model.weight[:, 800:] = 1
    assert weights_fingerprint(model) != before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64])
def test_one_changed_number_shows(dtype: torch.dtype) -> None:
    tensor = torch.zeros(50, 3).to(dtype)
    changed = tensor.clone()
    changed[17, 1] = 1
    assert tensors_fingerprint({"x": tensor}) == tensors_fingerprint({"x": tensor.t().contiguous().t()})
    assert tensors_fingerprint({"x": tensor}) != tensors_fingerprint({"x": changed})
    assert tensors_fingerprint({"x": tensor}) != tensors_fingerprint({"x": tensor.reshape(3, 50)})


def test_of_very_large_tensors_rows_all_over_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_MOST_BYTES", 400)
    tensor = torch.arange(1000.0).reshape(1000, 1)
    assert tensors_fingerprint({"x": tensor}) != tensors_fingerprint({"x": tensor + 1})
    assert tensors_fingerprint({"x": tensor}) != tensors_fingerprint({"x": tensor[:-1]})


def test_samples_that_are_known_only_by_fetching_them_are_told_apart() -> None:
    def of(samples: torch.Tensor) -> str:
        return samples_fingerprint({"train": len(samples), "test": 0}, lambda split, at: {"x": samples[at]})

    samples = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    assert of(samples) == of(samples.clone())
    assert len({of(samples), of(samples + 1), of(samples[:99]), of(samples.double())}) == 4


def test_one_changed_number_of_a_small_split_shows_though_only_fetch_has_it() -> None:
    def of(samples: torch.Tensor) -> str:
        return samples_fingerprint({"train": len(samples)}, lambda split, at: {"x": samples[at]})

    samples = torch.zeros(500, 3)
    changed = samples.clone()
    changed[499, 2] = 1
    assert of(samples) != of(changed)


def test_of_large_samples_few_are_fetched() -> None:
    fetched: list[int] = []

    def fetch(split: str, at: torch.Tensor) -> dict[str, torch.Tensor]:
        fetched.append(len(at))
        return {"x": torch.zeros(len(at), 1 << 18)}

    samples_fingerprint({"train": 100}, fetch)
    assert fetched == [16, 16]


def test_what_is_drawn_anew_in_every_call_is_told_by_its_sizes() -> None:
    def of(size: int) -> str:
        return samples_fingerprint({"train": size}, lambda split, at: {"x": torch.rand(len(at), 3)})

    assert of(20) == of(20)
    assert of(20) != of(21)

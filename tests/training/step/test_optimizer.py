"""The optimizer over flat parameters is torch's own, can be told to do nothing, and undoes what failed half-way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from slipway.training.config.recipe import OptimizerSpec
from slipway.training.step import optimizer as optimizer_module
from slipway.training.step.flat import FlatParameters
from slipway.training.step.optimizer import FlatOptimizer

RATES = (0.1, 0.03, 0.2, 0.05)
DECAY = 0.3


def make_model() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.LayerNorm(7), nn.Linear(7, 3, bias=False))


def make_flat(spec: OptimizerSpec, dtype: torch.dtype = torch.float64) -> tuple[FlatParameters, FlatOptimizer]:
    flat = FlatParameters(make_model().to(dtype), ledger_size=2)
    return flat, FlatOptimizer(spec, flat)


def gradients(flat: FlatParameters, step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(flat.gradients.shape, dtype=flat.dtype, generator=generator)


def update(flat: FlatParameters, own: FlatOptimizer, step: int, *, is_finite: bool = True) -> None:
    flat.gradients.copy_(gradients(flat, step))
    own.update(RATES[step], DECAY, torch.tensor(is_finite))


@pytest.fixture(params=["fused", "decayed in the kernel", "chunked"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Devices with an optimizer of one kernel, for few parameters and many, and the others, which update in parts."""
    if request.param == "decayed in the kernel":
        monkeypatch.setattr(optimizer_module, "_DECAYED_APART_ELEMENTS", 1)
    if request.param == "chunked":
        monkeypatch.setattr(optimizer_module, "_FUSED_DEVICES", ())
        monkeypatch.setattr(optimizer_module, "_CHUNK_ELEMENTS", 24)
    return request.param


def reference_of(name: str) -> torch.Tensor:
    """Return the parameters after torch's own optimizer, decaying matrices only, in the order of the flat buffer."""
    flat = FlatParameters(make_model().double(), ledger_size=2)
    parameters = [nn.Parameter(one.detach().clone()) for one in flat.tensors]
    groups = [
        {"params": [one for one in parameters if one.ndim >= 2], "weight_decay": DECAY},
        {"params": [one for one in parameters if one.ndim < 2], "weight_decay": 0.0},
    ]
    spec = OptimizerSpec()
    optimizer: torch.optim.Optimizer
    if name == "adamw":
        optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(spec.beta1, spec.beta2), eps=spec.eps, foreach=False)
    else:
        optimizer = torch.optim.SGD(groups, lr=0.0, momentum=spec.momentum, foreach=False)
    for step, rate in enumerate(RATES):
        drawn = gradients(flat, step)
        for one, start in zip(parameters, flat.starts, strict=True):
            one.grad = drawn[start : start + one.numel()].view(one.shape).clone()
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    return torch.cat([one.detach().flatten() for one in parameters])


def parameters_of(flat: FlatParameters) -> torch.Tensor:
    return torch.cat([one.detach().flatten() for one in flat.tensors])


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_updates_are_those_of_torch(path: str, name: Any) -> None:
    flat, own = make_flat(OptimizerSpec(name=name))
    places = {
        "fused": 1,
        "decayed in the kernel": 2 if name == "adamw" else 1,
        "chunked": -(-flat.values.numel() // 24),
    }
    assert len(own._places) == places[path]
    for step in range(len(RATES)):
        update(flat, own, step)
    assert torch.allclose(parameters_of(flat), reference_of(name), rtol=0, atol=1e-14)
    assert own.updates == (len(RATES) if name == "adamw" else 0)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_an_update_that_is_not_sound_leaves_no_trace(path: str, name: Any) -> None:
    flat, own = make_flat(OptimizerSpec(name=name))
    for step in range(len(RATES)):
        update(flat, own, step)
        before = [one.clone() for one in (flat.values, *own.moments.values())]
        flat.gradients.fill_(float("nan"))
        own.update(9.0, DECAY, torch.tensor(False))
        assert all(torch.equal(one, two) for one, two in zip(before, (flat.values, *own.moments.values()), strict=True))
    assert torch.allclose(parameters_of(flat), reference_of(name), rtol=0, atol=1e-14)


def test_a_reset_or_a_checkpoint_sets_the_count_that_the_bias_is_corrected_by(path: str) -> None:
    flat, own = make_flat(OptimizerSpec())
    first = flat.values.clone()
    for step in (2, 3):
        update(flat, own, step)
    kept = flat.values.clone(), {name: moment.clone() for name, moment in own.moments.items()}
    update(flat, own, 0)
    whole = flat.values.clone()
    other, again = make_flat(OptimizerSpec())
    other.set_values(kept[0])
    for name, moment in kept[1].items():
        again.moments[name].copy_(moment)
    again.set_updates(2)
    update(other, again, 0)
    assert torch.equal(other.values, whole)
    # A new stage is a new optimizer.
    own.reset()
    flat.set_values(first)
    for step in range(len(RATES)):
        update(flat, own, step)
    assert torch.allclose(parameters_of(flat), reference_of("adamw"), rtol=0, atol=1e-14)


def fail_half_way(own: FlatOptimizer, flat: FlatParameters, errors: dict[int, list[Exception]]) -> None:
    """Let updates of chunks run out of memory when they have changed half of it and counted, while errors last."""
    step = own._step

    def failing(chunk: int, learning_rate: float, found_inf: torch.Tensor | None = None) -> None:
        step(chunk, learning_rate, found_inf)
        if errors.get(chunk):
            place = own._places[chunk]
            middle = place.start + (place.stop - place.start) // 2
            with torch.no_grad():
                flat.values[middle : place.stop] = float("nan")
            raise errors[chunk].pop()

    own._step = failing  # type: ignore[method-assign]


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("NPU out of memory. Tried to allocate 2.00 GiB")])
def test_an_update_that_runs_out_of_memory_half_way_is_rolled_back_and_done(
    monkeypatch: pytest.MonkeyPatch, name: Any, error: Exception
) -> None:
    monkeypatch.setattr(optimizer_module, "_FUSED_DEVICES", ())
    monkeypatch.setattr(optimizer_module, "_CHUNK_ELEMENTS", 24)
    flat, own = make_flat(OptimizerSpec(name=name))
    fail_half_way(own, flat, {0: [error], 2: [error]})
    for step in range(len(RATES)):
        update(flat, own, step)
    assert torch.allclose(parameters_of(flat), reference_of(name), rtol=0, atol=1e-14)
    # Each chunk has a count of its own.
    assert [float(count) for count in own._counts] == [float(len(RATES)) if name == "adamw" else 0.0] * len(own._places)


def test_an_error_that_is_none_of_memory_or_comes_again_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer_module, "_FUSED_DEVICES", ())
    cases: list[tuple[list[Exception], type[Exception]]] = [
        ([ValueError("no")], ValueError),
        ([MemoryError(), MemoryError()], MemoryError),
    ]
    for errors, expected in cases:
        flat, own = make_flat(OptimizerSpec())
        fail_half_way(own, flat, {0: errors})
        with pytest.raises(expected):
            update(flat, own, 0)


def test_rolling_back_needs_no_new_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer_module, "_FUSED_DEVICES", ())
    monkeypatch.setattr(optimizer_module, "_CHUNK_ELEMENTS", 24)
    flat, own = make_flat(OptimizerSpec())

    def refuse(*_: Any, **__: Any) -> torch.Tensor:
        raise MemoryError

    monkeypatch.setattr(torch.Tensor, "clone", refuse)
    update(flat, own, 0)
    assert own.updates == 1

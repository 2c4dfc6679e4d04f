"""The state of a model under the names of the plain module: `torch.compile(module)` puts a part of its own into each name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import nn

_COMPILED = "_orig_mod"
"""What `torch.compile(module)` calls the module that it wraps."""

_Value = TypeVar("_Value")


def plain_state(module: nn.Module, state: Mapping[str, _Value]) -> dict[str, _Value]:
    """Return the state of a module, or any values by the same names, as the module has it where nothing is compiled."""
    wrapped = _wrapped_names(module)
    return {_plain(name, wrapped): value for name, value in state.items()}


def own_state(module: nn.Module, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state with plain names, or with those of the module, under the names of the module.

    A name that the module does not have stays: `load_state_dict` names it.
    """
    wrapped = _wrapped_names(module)
    own = {_plain(name, wrapped): name for name in module.state_dict(keep_vars=True)}
    return {own.get(_plain(name, wrapped), name): value for name, value in state.items()}


def _wrapped_names(module: nn.Module) -> list[str]:
    """Return the names of the modules that `torch.compile` wrapped, the innermost first, each with a dot at its end."""
    wrappers = [
        name
        for name, one in module.named_modules(remove_duplicate=False)
        if type(one).__name__ == "OptimizedModule" and type(one).__module__.startswith("torch.")
    ]
    names = [f"{name}.{_COMPILED}." if name else f"{_COMPILED}." for name in wrappers]
    return sorted(names, key=len, reverse=True)


def _plain(name: str, wrapped: list[str]) -> str:
    for place in wrapped:
        if name.startswith(place):
            name = place.removesuffix(f"{_COMPILED}.") + name.removeprefix(place)
    return name

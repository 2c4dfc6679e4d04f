"""Groups of a model's parameters: each parameter in one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from ...common.conversion import plain_values
from ...common.errors import UserError
from ...config.methods import ParameterGroup

HOW_COMPUTED = ("foreach", "fused", "capturable", "differentiable")
"""Settings of torch's optimizers that change how an update is computed, not what."""


class AssignedGroup(NamedTuple):
    """A group of parameters, none of which is in another one."""

    name: str
    parameters: list[nn.Parameter]
    learning_rate_factor: float
    weight_decay_factor: float | None


def assign(groups: Iterable[ParameterGroup] | None, named: Mapping[str, nn.Parameter]) -> list[AssignedGroup]:
    """Return groups with a list of parameters each, in which every parameter stands once; the last has the rest.

    Frozen parameters are left out. Raises `UserError` for a parameter in two groups or of another model.
    """
    rest = {id(one): name for name, one in named.items()}
    known = dict(rest)
    taken: dict[int, str] = {}
    assigned = []
    if groups is not None and not isinstance(groups, Iterable):
        raise UserError(f"parameter_groups: expected a list of slipway.ParameterGroup, got {type(groups).__name__}")
    for number, group in enumerate(groups or (), 1):
        if not isinstance(group, ParameterGroup):
            raise UserError(
                f"parameter_groups: expected slipway.ParameterGroup objects, got {type(group).__name__}; write "
                "ParameterGroup(parameters, learning_rate_factor=...)"
            )
        name = group.name or f"group {number}"
        for which in ("learning_rate_factor", "weight_decay_factor"):
            factor = getattr(group, which)
            if factor is not None and not (isinstance(factor, int | float) and 0 <= factor < float("inf")):
                raise UserError(f"parameter_groups: {which} of {name} must be a number from 0 up, got {factor!r}")
        if isinstance(group.parameters, torch.Tensor):
            raise UserError(f"parameter_groups: {name} is a tensor; give a list of parameters, or a module")
        members = group.parameters.parameters() if isinstance(group.parameters, nn.Module) else group.parameters
        own: list[nn.Parameter] = []
        for one in members:
            if not isinstance(one, torch.Tensor):
                raise UserError(f"parameter_groups: {name} holds {str(one)[:40]!r}; give parameters, not their names")
            if id(one) in taken and id(one) in known:
                raise UserError(
                    f"parameter_groups: {known[id(one)]} is in {taken[id(one)]} and in {name}; leave it in one of them"
                )
            if id(one) in known:
                own.append(one)
                del rest[id(one)]
                taken[id(one)] = name
            elif one.requires_grad:
                raise UserError(f"parameter_groups: {name} holds a parameter that is none of the model's")
        assigned.append(AssignedGroup(name, own, float(group.learning_rate_factor), group.weight_decay_factor))
    names = [group.name for group in assigned]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UserError(f"parameter_groups: two groups are called {repeated[0]!r}; give each its own name")
    left = [named[name] for name in rest.values()]
    return [
        *(group for group in assigned if group.parameters),
        *([AssignedGroup("rest", left, 1.0, None)] if left else []),
    ]


def some_names(names: list[str]) -> str:
    """Return the first of some names and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def describe_group(group: Mapping[str, Any], named: Mapping[str, nn.Parameter]) -> dict[str, Any]:
    """Return a group's settings and how many parameters it has, with a hash of their names, as plain values."""
    names = {id(one): name for name, one in named.items()}
    settings = {name: value for name, value in group.items() if name not in ("params", "param_names", *HOW_COMPUTED)}
    own = [names[id(one)] for one in group["params"]]
    hashed = hashlib.sha256("\n".join(own).encode()).hexdigest()[:16]
    return {**plain_values(settings, "", []), "parameters": len(own), "names": hashed}

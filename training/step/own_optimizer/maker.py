"""Make the optimizer that a recipe, a task or a caller asks for, and check it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ...common.errors import UserError, flag_of, nearest
from ...config.methods import Groups, Methods, name_of
from ...config.recipe import OptimizerSpec, OwnOptimizer, Recipe, Stage
from ...tasks.task import Task
from ..plain_names import plain_state
from .groups import HOW_COMPUTED, assign, describe_group, some_names

_FLAT = ("adamw", "sgd")

_Maker = Callable[..., torch.optim.Optimizer | None]
"""A class of optimizers, or a function of groups."""


def settle_optimizer(recipe: Recipe, task: Task, model: nn.Module, methods: Methods, asked: OwnOptimizer) -> Recipe:
    """Return the recipe with what it has to say of an optimizer that is not the flat one.

    `asked` is what the options say of it. Raises `UserError` if it cannot be made.
    """
    if methods.optimizer is not None or type(task).make_optimizer is not Task.make_optimizer:
        if recipe.optimizer.name != OptimizerSpec.name:
            given = "optimizer" if methods.optimizer is not None else f"the make_optimizer of task {task.name!r}"
            raise UserError(
                f"--optimizer {recipe.optimizer.name} contradicts {given}: leave one of them out", option="optimizer"
            )
        recipe = replace(recipe, own_optimizer=asked)
    maker = OptimizerMaker.of(recipe, task, methods)
    if "momentum" in asked.arguments and maker.function is None and maker.spec.name == "adamw":
        raise UserError("--momentum: adamw has none; it has --betas", option="momentum")
    if maker.is_flat(model):
        return recipe
    as_built = [(one, one.requires_grad) for one in model.parameters()]
    task.begin_stage(model, recipe.stages[0])
    named = trained_parameters(model)
    optimizer = maker.make(model, named, recipe.stages[0])
    for parameter, is_trained in as_built:
        parameter.requires_grad_(is_trained)
    groups = tuple(describe_group(group, named) for group in optimizer.param_groups)
    own = replace(maker.own, class_name=name_of(type(optimizer)), groups=groups)
    spec = recipe.optimizer if maker.function is None else replace(recipe.optimizer, name=maker.name)
    return replace(recipe, optimizer=spec, own_optimizer=own)


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of a model that are not frozen, by the names that they have where nothing is compiled."""
    return plain_state(model, {name: one for name, one in model.named_parameters() if one.requires_grad})


@dataclass(frozen=True, kw_only=True)
class OptimizerMaker:
    """Makes the optimizer of a recipe, a task and a caller, and checks it."""

    spec: OptimizerSpec
    task: Task
    function: _Maker | None
    """Of the caller or the task; None: the class of `torch.optim` that the recipe names."""
    own: OwnOptimizer

    @classmethod
    def of(cls, recipe: Recipe, task: Task, methods: Methods) -> OptimizerMaker:
        """Return what makes the optimizer. Raises `UserError` for what cannot make one."""
        function: _Maker | None = methods.optimizer
        if function is None and type(task).make_optimizer is not Task.make_optimizer:
            function = task.make_optimizer
        if function is not None and (not callable(function) or isinstance(function, torch.nn.Module)):
            advice = "give the class, or a function of the groups of parameters that returns one"
            if isinstance(function, str):
                advice = f"a name is given as TrainingConfig(optimizer={function!r})"
            raise UserError(
                f"optimizer: expected a class of optimizers, got an object of {type(function).__name__}; {advice}"
            )
        own = recipe.own_optimizer
        if own is None:  # groups of parameters alone
            own = OwnOptimizer()
        if function is None and recipe.optimizer.name in _FLAT:
            own = replace(own, stage_decay=True)
        return cls(spec=recipe.optimizer, task=task, function=function, own=own)

    @property
    def name(self) -> str:
        """The optimizer's name in messages and in the recipe."""
        return self.spec.name if self.function is None else name_of(self.function)

    @property
    def _decays_matrices_only(self) -> bool:
        return self.function is None and self.spec.name in _FLAT

    def is_flat(self, model: nn.Module) -> bool:
        """Return whether the flat optimizer does it: one of its own, all parameters alike, no option that it does not have."""
        has_options = set(self.own.arguments) - {"betas", "eps", "momentum"}
        return self._decays_matrices_only and not has_options and self.task.parameter_groups(model) is None

    def make(self, model: nn.Module, named: Mapping[str, nn.Parameter], stage: Stage) -> torch.optim.Optimizer:
        """Return a new optimizer of named parameters for a stage, at the base learning rate. Raises `UserError`."""
        groups = self._groups(model, named, stage)
        decays = {group["name"]: group.pop("weight_decay_factor") for group in groups}
        given = [{**group, "params": list(group["params"])} for group in groups]
        kind = self._class()
        try:
            if kind is None:
                optimizer = self._call(given)
            else:
                arguments = self._arguments(kind)
                optimizer = kind(given, **arguments, **_one_kernel(kind, arguments, named.values()))
        except (TypeError, ValueError) as error:
            raise UserError(f"optimizer {self.name}: {' '.join(str(error).split())}") from error
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise UserError(
                f"optimizer {self.name}: it returned {type(optimizer).__name__}, not a torch.optim.Optimizer of the groups "
                "of parameters that it is given"
            )
        self._check(optimizer, named, given)
        self._decay(optimizer, decays)
        return optimizer

    def _class(self) -> _Maker | None:
        """Return the class, or None for a function of the user's."""
        if self.function is None:
            return next(
                kind
                for name, kind in vars(torch.optim).items()
                if isinstance(kind, type) and name.lower() == self.spec.name
            )
        function = self.function
        inner = function.func if isinstance(function, functools.partial) else function
        return function if isinstance(inner, type) else None

    def _call(self, groups: Groups) -> torch.optim.Optimizer | None:
        """Return what the user's function makes. Raises `UserError` if options give arguments that it would not get."""
        assert self.function is not None
        for name in self.own.arguments:
            flag = flag_of(name if name in ("betas", "eps", "momentum") else "optimizer_options")
            raise UserError(
                f"{flag}: the function {self.name} makes the optimizer: give {name} there, and leave it out here"
            )
        return self.function(groups)

    def _arguments(self, kind: _Maker) -> dict[str, Any]:
        """Return the arguments of a class beside its groups. Raises `UserError` for one that it does not have."""
        known = inspect.signature(kind).parameters
        arguments: dict[str, Any] = dict(self.own.arguments)
        if self._decays_matrices_only:
            spec = self.spec
            own = {"betas": (spec.beta1, spec.beta2), "eps": spec.eps} if spec.name == "adamw" else {}
            arguments = {**(own or {"momentum": spec.momentum}), **arguments}
        for name in arguments:
            if name not in known and not any(one.kind is one.VAR_KEYWORD for one in known.values()):
                is_option = name in ("betas", "eps", "momentum")
                names = [one for one in known if one not in ("params", "lr", "weight_decay", *HOW_COMPUTED)]
                hint = "" if is_option else nearest(name, names)
                hint = hint or f"; it has {', '.join(names)}"
                flag = flag_of(name if is_option else "optimizer_options")
                raise UserError(f"{flag}: {self.name} has no {name}{hint}")
        if "lr" in known and "lr" not in getattr(kind, "keywords", {}):
            arguments["lr"] = self.spec.learning_rate
        return arguments

    def _groups(self, model: nn.Module, named: Mapping[str, nn.Parameter], stage: Stage) -> Groups:
        """Return the groups of parameters as torch takes them, with their factor of the weight decay."""
        made = []
        for group in assign(self.task.parameter_groups(model), named):
            parts = [(group.name, group.parameters, group.weight_decay_factor)]
            if self._decays_matrices_only and group.weight_decay_factor is None:
                name, parameters, _ = parts[0]
                matrices = [one for one in parameters if one.ndim >= 2]
                vectors = [one for one in parameters if one.ndim < 2]
                parts = [(name, matrices, 1.0), (f"{name} without decay", vectors, 0.0)]
            for name, parameters, decay in parts:
                if not parameters:
                    continue
                one = {"params": parameters, "name": name, "lr": self.spec.learning_rate * group.learning_rate_factor}
                if self.own.stage_decay:
                    one["weight_decay"] = stage.weight_decay * (1.0 if decay is None else decay)
                made.append({**one, "weight_decay_factor": None if self.own.stage_decay else decay})
        return made

    def _check(self, optimizer: torch.optim.Optimizer, named: Mapping[str, nn.Parameter], given: Groups) -> None:
        """Raise `UserError` unless each parameter is in one group, at a rate that is said once."""
        what = f"optimizer {self.name}"
        found = [id(one) for group in optimizer.param_groups for one in group["params"]]
        if left := [name for name, one in named.items() if id(one) not in found]:
            raise UserError(
                f"{what}: it leaves out {some_names(left)}; freeze what is not trained (requires_grad_(False)), or give every "
                "parameter of the groups to it"
            )
        if len(found) != len(named):
            raise UserError(
                f"{what}: it has parameters that are none of the model's; make it of the groups it is given"
            )
        names = {group.get("name") for group in optimizer.param_groups}
        if len(given) > 1 and (lost := [group["name"] for group in given if group["name"] not in names]):
            raise UserError(
                f"{what}: the groups {some_names(lost)} are lost in it, and with them their rate and weight decay; pass the "
                "groups on as they are, or with changes: {**group, ...}"
            )
        closure = inspect.signature(optimizer.step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            raise UserError(
                f"{what}: it computes the loss again in its step (closure), which a training cannot give it"
            )
        if isinstance(optimizer, torch.optim.SparseAdam):
            raise UserError(f"{what}: gradients are dense here; take Adam or AdamW")
        defaults = inspect.signature(type(optimizer)).parameters
        said = {"lr": {self.spec.learning_rate, *(group["lr"] for group in given)}}
        if self.own.stage_decay:
            said["weight_decay"] = {group["weight_decay"] for group in given}
        for name, values in said.items():
            own, usual = optimizer.defaults.get(name), getattr(defaults.get(name), "default", None)
            if isinstance(own, int | float) and own not in values and own != usual:
                option = "learning_rate" if name == "lr" else name
                raise UserError(
                    f"{what}: it is made with {name}={own:g}, but the config says {min(values):g}; leave {name} out there "
                    f"and give {option}={own:g} in the config, or change {name} in the groups"
                )
            if name == "weight_decay" and name not in optimizer.defaults and any(values):
                raise UserError(
                    f"{flag_of(name)}: {self.name} has no weight decay; give --weight-decay 0, or leave it out"
                )

    def _decay(self, optimizer: torch.optim.Optimizer, factors: Mapping[str, float | None]) -> None:
        """Multiply the weight decay of groups by their factors. Raises `UserError` if there is none."""
        asked = {name: factor for name, factor in factors.items() if factor not in (None, 1.0)}
        for group in optimizer.param_groups:
            factor = asked.pop(group.get("name", ""), None)
            if factor is None:
                continue
            if "weight_decay" not in group:
                raise UserError(
                    f"optimizer {self.name}: it has no weight decay that group {group['name']!r} could multiply"
                )
            group["weight_decay"] *= factor


def _one_kernel(kind: _Maker, arguments: Mapping[str, Any], parameters: Iterable[nn.Parameter]) -> dict[str, bool]:
    """Return what has a class of torch update each tensor on the host in one kernel, unless it is said how it computes.

    It takes half of the time of torch's own default there, one operation after the other, for the same update.
    """
    given = {*arguments, *getattr(kind, "keywords", {})}
    inner = getattr(kind, "func", kind)
    is_known = inner.__module__.startswith("torch.optim.") and "fused" in inspect.signature(inner).parameters
    if not is_known or given & {*HOW_COMPUTED}:
        return {}
    fits = all(one.device.type == "cpu" and one.is_floating_point() for one in parameters)
    return {"fused": True} if fits else {}

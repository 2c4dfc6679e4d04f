"""Update each parameter by an optimizer of `torch.optim` or of the user's, which may have groups of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ...common.errors import TrainingFailed, UserError
from ...common.program.places import words_of
from ...config.methods import Methods
from ...config.recipe import Recipe, Stage
from ...devices.memory import is_out_of_memory
from ...tasks.task import Task
from ..optimizer import FlatOptimizer, StepOptimizer
from ..parameters import ParameterStore
from .maker import OptimizerMaker, trained_parameters

_OF_TORCH = ("defaults", "state", "param_groups")
"""Attributes that every optimizer has."""


def make_optimizer(
    recipe: Recipe, task: Task, model: nn.Module, parameters: ParameterStore, methods: Methods
) -> StepOptimizer:
    """Return what updates the parameters of a model: the flat optimizer, unless another or groups are asked for.

    Raises `UserError` if the optimizer cannot be made, or cannot update sharded parameters.
    """
    maker = OptimizerMaker.of(recipe, task, methods)
    if maker.is_flat(model):
        return FlatOptimizer(recipe.optimizer, parameters)
    if parameters.passes_are_collective:
        raise UserError(
            f"--sharding fsdp: {maker.name} with its groups of parameters updates complete parameters; use --sharding "
            "replicate, or adamw or sgd without groups and --optimizer-options"
        )
    return TorchOptimizer(maker, model, recipe, parameters)


class TorchOptimizer(StepOptimizer):
    """An optimizer of torch or of the user's over the model's parameters, which lie in the flat vectors."""

    def __init__(
        self,
        maker: OptimizerMaker,
        model: nn.Module,
        recipe: Recipe,
        parameters: ParameterStore,
    ) -> None:
        self._maker, self._model, self._recipe, self._parameters = maker, model, recipe, parameters
        self.begin_stage(recipe.stages[0])

    def begin_stage(self, stage: Stage) -> None:
        """Make the optimizer anew for a stage, of the parameters that it trains."""
        self._named = trained_parameters(self._model)
        self.optimizer = self._maker.make(self._model, self._named, stage)
        self._rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self._settings = {
            place: {name: value for name, value in holder.items() if _is_number(value)}
            for place, holder in self._holders().items()
        }
        """What groups and optimizer hold at first: an optimizer may change it, and that is state too."""
        self._is_proven = type(self.optimizer).__module__.startswith("torch.optim")

    def update(self, learning_rate: float, weight_decay: float, is_finite: torch.Tensor | None = None) -> None:
        """Update the parameters by their gradients, unless `is_finite` is false, for which the host waits.

        The groups have their own weight decay. Raises `UserError` for an optimizer whose state cannot be saved, or that
        takes a parameter out of the flat vectors.
        """
        if is_finite is not None and not bool(is_finite):
            return
        factor = learning_rate / self._recipe.optimizer.learning_rate
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate * factor)
            else:
                group["lr"] = rate * factor
        try:
            if self._is_proven:
                self.optimizer.step()
            else:
                self._prove()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            # Some parameters may be updated and others not.
            raise TrainingFailed(
                f"memory ran out in the update by {self._maker.name}: give it a smaller state, or the model fewer parameters"
            ) from None

    def _prove(self) -> None:
        """Do the first update of an optimizer of the user's. Raises `UserError` if a run could not be repeated with it."""
        what, optimizer = f"optimizer {self._maker.name}", self.optimizer
        drawn = self._random_state()
        before = self._collections()
        try:
            optimizer.step()
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise UserError(f"{what}: its step fails: {words_of(error)}") from error
        for name, content in self._collections().items():
            if before.get(name) != content:
                raise UserError(
                    f"{what}: it keeps {name!r} outside of its state, where no checkpoint sees it; keep tensors and numbers, "
                    "or keep it in self.state[parameter]"
                )
        if any(not torch.equal(one, two) for one, two in zip(drawn, self._random_state(), strict=True)):
            raise UserError(f"{what}: it draws random numbers in its step, which differ from rank to rank")
        try:
            self._parameters.check_attached()
        except RuntimeError:
            raise UserError(
                f"{what}: it replaces parameter.data or parameter.grad; change them in place, as parameter.add_(...) does"
            ) from None
        self.tensors()
        self._is_proven = True

    def _collections(self) -> dict[str, str]:
        """Return the content of the optimizer's own lists and dictionaries, by name, as text."""
        return {
            name: repr(value)
            for name, value in vars(self.optimizer).items()
            if name not in _OF_TORCH and isinstance(value, list | dict | set | tuple)
        }

    def _random_state(self) -> list[torch.Tensor]:
        device = self._parameters.device
        states = [torch.get_rng_state()]
        if device.type != "cpu":
            states.append(torch.get_device_module(device).get_rng_state(device))
        return states

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the state by kind, parameter and name. Raises `UserError` for what is neither a tensor nor a number."""
        names = {id(one): name for name, one in self._named.items()}
        found: dict[str, torch.Tensor] = {}
        for parameter, values in self.optimizer.state.items():
            if id(parameter) not in names:
                raise UserError(
                    f"optimizer {self._maker.name}: it keeps state of {str(parameter)[:40]!r}, which is no parameter; keep it "
                    "in self.state[parameter], or in a group"
                )
            for key, value in values.items():
                kind, tensor = self._encode(key, value)
                found[f"{kind}/{names[id(parameter)]}/{key}"] = tensor
        for place, holder in self._holders().items():
            before = self._settings[place]
            for key, value in holder.items():
                is_changed = _is_number(value) and (key not in before or before[key] != value)
                if key != "lr" and (is_changed or isinstance(value, torch.Tensor)):
                    kind, tensor = self._encode(key, value)
                    found[f"{kind}@{place}/{key}"] = tensor
        return found

    def _holders(self) -> dict[str, dict[str, Any]]:
        """Return what holds numbers and tensors beside the state: the groups, and the optimizer itself."""
        groups = {f"group/{number}": group for number, group in enumerate(self.optimizer.param_groups)}
        return {**groups, "optimizer": vars(self.optimizer)}

    def _encode(self, key: str, value: Any) -> tuple[str, torch.Tensor]:
        if isinstance(value, torch.Tensor):
            return "tensor", value.detach().contiguous()
        if value is None:
            return "none", torch.zeros(0)
        if _is_number(value):
            return "number", _to_tensor(value)
        raise UserError(
            f"optimizer {self._maker.name}: its state {key!r} is a {type(value).__name__}, which no checkpoint holds; keep "
            "tensors and numbers"
        )

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Set the state of a new optimizer from what `tensors` returned."""
        groups = {id(one): group for group in self.optimizer.param_groups for one in group["params"]}
        holders = self._holders()
        for place, tensor in tensors.items():
            name, _, key = place.partition("/")[2].rpartition("/")
            kind, _, holder = place.rpartition("/")[0].partition("@")
            if holder in holders:
                device = self._parameters.device
                holders[holder][key] = tensor.item() if kind == "number" else tensor.to(device, copy=True)
            elif (parameter := self._named.get(name)) is not None:
                values = self.optimizer.state[parameter]
                if place.startswith("tensor/"):
                    values[key] = _placed(tensor, parameter, key, groups[id(parameter)])
                else:
                    values[key] = tensor.item() if place.startswith("number/") else None


def _placed(tensor: torch.Tensor, parameter: nn.Parameter, key: str, group: Mapping[str, Any]) -> torch.Tensor:
    """Return a copy of a state where torch's optimizers have it: like its parameter, but counts of steps on the host."""
    if tensor.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)
    on_host = key == "step" and not (group.get("capturable") or group.get("fused"))
    return tensor.to("cpu" if on_host else parameter.device, copy=True)


def _to_tensor(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float)

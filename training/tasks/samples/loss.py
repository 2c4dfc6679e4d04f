"""Any loss as a sum and a weight for each sample, so that every division of a batch gives the mean over all of it."""

from __future__ import annotations

import copy
import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ...common.errors import UserError
from ...common.program.places import place_of
from ...devices.memory import out_of_memory_message
from ..outputs import main_tensor
from .structure import as_mapping, one_line, sizes_of

logger = logging.getLogger("slipway")

Loss = Callable[..., Any]
Weighted = tuple[torch.Tensor, torch.Tensor | None]
"""Losses, each a sum over what its weight counts, and these weights; None: 1 each."""

_SAME_SHAPE = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
_SAME_SHAPE_FUNCTIONS = (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss)


class SampleLoss:
    """A loss module or function, called so that it gives one number for each sample where it can."""

    def __init__(self, loss: Loss | None) -> None:
        if isinstance(loss, type):
            raise UserError(f"loss: {loss.__name__} is a class; give an object made from it: {loss.__name__}()")
        if loss is not None and not callable(loss):
            raise UserError(f"loss: expected a loss module or a function of outputs and targets, got {loss!r:.60}")
        self._loss = loss
        self.name = "the model's own loss" if loss is None else f"the loss {_name_of(loss)}"
        self._reduction = "mean"
        self._class_weights: torch.Tensor | None = None
        self.ignore_index = -100
        """The target of what does not count, where targets are numbers of classes."""
        self._takes_what_the_model_returned = False
        self._is_exact = self._needs_one_shape = self._is_cross_entropy = False
        self._has_told = False
        if isinstance(loss, nn.Module):
            self._prepare_module(loss)
        elif loss is not None:
            self._prepare_function(loss)

    @property
    def is_cross_entropy(self) -> bool:
        """Whether targets may be numbers of classes."""
        return self._is_cross_entropy

    @property
    def is_of_model(self) -> bool:
        """Whether the model returns its loss."""
        return self._loss is None

    def _prepare_module(self, loss: nn.Module) -> None:
        if any(True for _ in loss.parameters()):
            raise UserError(f"{self.name} has parameters, which nothing would train: make it a part of the model")
        if not hasattr(loss, "reduction"):
            return
        self._check_reduction(loss.reduction)
        self._loss = loss = copy.deepcopy(loss)
        vars(loss)["reduction"] = "none"
        self._is_exact = True
        self._needs_one_shape = isinstance(loss, _SAME_SHAPE)
        self._is_cross_entropy = type(loss) in (nn.CrossEntropyLoss, nn.NLLLoss)
        if self._is_cross_entropy:
            self._class_weights = loss.weight  # type: ignore[assignment]
            self.ignore_index = int(loss.ignore_index)  # type: ignore[arg-type]

    def _prepare_function(self, loss: Loss) -> None:
        given = loss.keywords if isinstance(loss, functools.partial) else {}
        base = loss.func if isinstance(loss, functools.partial) else loss
        # What a function of the user's does with a reduction is not known; it may also take all that the model returns.
        is_torchs = getattr(base, "__module__", "").startswith("torch.")
        self._takes_what_the_model_returned = not is_torchs
        if not is_torchs or "reduction" not in inspect.signature(base).parameters:
            return
        self._check_reduction(given.get("reduction", "mean"))
        self._loss = functools.partial(loss, reduction="none")
        self._is_exact = True
        self._needs_one_shape = base in _SAME_SHAPE_FUNCTIONS
        self._is_cross_entropy = base in (F.cross_entropy, F.nll_loss)
        if self._is_cross_entropy:
            self._class_weights = given.get("weight")
            self.ignore_index = int(given.get("ignore_index", -100))

    def _check_reduction(self, reduction: Any) -> None:
        if reduction == "sum":
            raise UserError(
                f"{self.name}: reduction='sum' grows with the batch; leave it 'mean', or give a function that returns "
                "(sum, weight)"
            )
        self._reduction = str(reduction)

    def __call__(self, returned: Any, targets: Any, num_samples: int) -> Weighted:
        """Return losses and weights of what a model returned. Raises `UserError` for outputs or losses of a wrong kind."""
        if self._loss is None:
            return self._understand(_own_loss(returned), num_samples)
        outputs = returned
        if not self._takes_what_the_model_returned:
            outputs = main_output(returned)
        if targets is None:
            raise UserError(
                f"{self.name} needs a target, and the batch has none: let a sample be (inputs, target), or a dictionary with "
                "one of the keys labels, label, targets, target or y"
            )
        if self._needs_one_shape and sizes_of(outputs).split("]")[0] != sizes_of(targets).split("]")[0]:
            raise UserError(
                f"{self.name}: the model returned {sizes_of(outputs)} and the target is {sizes_of(targets)}, which would be "
                "broadcast against each other; give both one shape, with squeeze(-1) in the model or [:, None] on the target"
            )
        if isinstance(self._loss, nn.Module) and isinstance(outputs, torch.Tensor):
            self._move(outputs)
        if self._is_cross_entropy and _is_integer(targets):
            targets = targets.long()  # NumPy's numbers of classes are often of fewer bits
        try:
            loss = self._loss(outputs, targets)
        except Exception as error:
            if out_of_memory_message(error) is not None:
                raise
            is_class = _is_integer(targets) and targets.ndim == 1
            hint = "; classes are whole numbers from 0, [samples]" if self._is_cross_entropy and not is_class else ""
            raise UserError(
                f"{self.name} cannot take outputs {sizes_of(outputs)} and targets {sizes_of(targets)}: "
                f"{one_line(error).rstrip('.')}{hint}{place_of(error)}"
            ) from error
        if self._is_exact and isinstance(loss, torch.Tensor) and loss.ndim and len(loss) == num_samples:
            return self._per_sample(loss, targets)
        return self._understand(loss, num_samples)

    def _move(self, outputs: torch.Tensor) -> None:
        assert isinstance(self._loss, nn.Module)
        for buffer in self._loss.buffers():
            dtype = outputs.dtype if buffer.is_floating_point() else buffer.dtype
            if buffer.device != outputs.device or buffer.dtype != dtype:
                self._loss.to(outputs.device, outputs.dtype)
                if self._class_weights is not None:
                    self._class_weights = self._loss.weight  # type: ignore[assignment]
                return

    def _per_sample(self, loss: torch.Tensor, targets: Any) -> Weighted:
        """Return the sum of each sample over its elements, and what torch's mean divides by."""
        if self._is_cross_entropy and _is_integer(targets):
            counted = targets != self.ignore_index
            weights = counted.to(loss.dtype)
            if self._class_weights is not None:
                known = self._class_weights.to(loss.device, loss.dtype)
                weights = weights * known[targets.where(counted, 0)]
            return _sums(loss), _sums(weights)
        if loss.ndim == 1 or self._reduction == "batchmean":
            return _sums(loss), None
        return loss.flatten(1).mean(dim=1), None

    def _understand(self, loss: Any, num_samples: int) -> Weighted:
        if isinstance(loss, (tuple, list)) and len(loss) == 2:
            return _sum_and_weight(self.name, loss[0], loss[1])
        if not isinstance(loss, torch.Tensor):
            raise UserError(f"{self.name} returned {sizes_of(loss)}; expected {_EXPECTED}")
        if loss.ndim == 0:
            if num_samples > 1 and not self._has_told:
                self._has_told = True
                logger.info(
                    "%s returns one number, taken as the mean over the samples of a micro-batch; one number for each sample, "
                    "or (sum, weight), is exact where samples do not count alike",
                    self.name,
                )
            return loss.expand(num_samples), None
        if loss.ndim > 1 or len(loss) != num_samples:
            raise UserError(f"{self.name} returned {sizes_of(loss)} for {num_samples} samples; expected {_EXPECTED}")
        return loss, None


_EXPECTED = "one number for each sample, [samples], or their mean, or (sum, weight)"


def _is_integer(targets: Any) -> bool:
    return isinstance(targets, torch.Tensor) and not targets.is_floating_point()


def _sums(values: torch.Tensor) -> torch.Tensor:
    return values if values.ndim == 1 else values.flatten(1).sum(dim=1)


def _sum_and_weight(name: str, total: Any, weight: Any) -> Weighted:
    if not isinstance(total, torch.Tensor) or total.numel() != 1:
        raise UserError(
            f"{name} returned ({sizes_of(total)}, {sizes_of(weight)}); of (sum, weight) the sum is one number"
        )
    on_host = not isinstance(weight, torch.Tensor) or weight.device.type == "cpu"
    weight = torch.as_tensor(weight, device=total.device)
    if weight.numel() != 1:
        raise UserError(f"{name} returned (sum, {sizes_of(weight)}); of (sum, weight) the weight is one number")
    if on_host and float(weight) < 0:
        raise UserError(
            f"{name} returned (sum, {float(weight):g}); of (sum, weight) the weight is what the sum counts, from 0 up"
        )
    return total.reshape(1), weight.detach().reshape(1).to(total.dtype)


def main_output(returned: Any) -> torch.Tensor:
    """Return the tensor that losses and metrics take: what was returned, its `logits`, or the only one in it."""
    output = main_tensor(returned)
    if output is not None:
        return output
    raise UserError(
        f"the model returned {sizes_of(returned)}, of which no tensor is named logits; give forward=, a function of model and "
        "batch that returns the one that is meant, or a loss= function that takes what the model returns"
    )


def _own_loss(returned: Any) -> Any:
    mapping = as_mapping(returned)
    if mapping is None or mapping.get("loss") is None:
        raise UserError(
            f"loss=None takes the loss that the model returns, but it returned {sizes_of(returned)}; give a loss, or call the "
            "model with labels"
        )
    return mapping["loss"]


def _name_of(loss: Loss) -> str:
    if isinstance(loss, functools.partial):
        return _name_of(loss.func)
    return type(loss).__name__ if isinstance(loss, nn.Module) else getattr(loss, "__name__", type(loss).__name__)

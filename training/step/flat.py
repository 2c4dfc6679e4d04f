"""Parameters and gradients of a model as two flat buffers: one zeroing, one reduction, one norm, one update.

Each parameter becomes a view of the first buffer and its gradient a view of the second, so autograd accumulates in place
and nothing is packed or unpacked. A parameter that takes no part in a step has a zero gradient, not none, whoever computes
which sample: what a step does cannot depend on the plan.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from ..common.errors import UserError
from .memory_format import channels_last_view

_ALIGNMENT = 16
"""Elements to which each parameter's start is aligned: 64 bytes in float32, as kernels for matrices like it."""


class FlatLayout(NamedTuple):
    """Where tensors lie in a flat vector."""

    places: tuple[slice, ...]
    size: int

    @classmethod
    def of(cls, shapes: Sequence[torch.Size]) -> FlatLayout:
        """Return the layout of tensors end to end, each aligned."""
        places, size = [], 0
        for shape in shapes:
            places.append(slice(size, size + math.prod(shape)))
            size += -(-math.prod(shape) // _ALIGNMENT) * _ALIGNMENT
        return cls(tuple(places), size)


class FlatParameters:
    """The trainable parameters of a module, weight-decayed ones first (matrices), then the rest (biases, norms).

    After the gradients comes the ledger: a few numbers that ranks sum in the same reduction, such as the weight of the
    samples of a step.
    """

    is_sharded = False
    """Whether each rank holds only a part of each parameter: all of them then do equally many passes."""

    def __init__(self, module: nn.Module, ledger_size: int, *, channels_last: bool = False) -> None:
        parameters = self._sorted(module)
        self._allocate(parameters, [parameter.shape for parameter in parameters], ledger_size)
        self._images = [
            (slice(start, start + parameter.numel()), parameter.shape)
            for parameter, start in zip(parameters, self.starts, strict=True)
            if channels_last and parameter.ndim == 4
        ]
        """Where parameters lie with their channels last, and their shapes."""
        with torch.no_grad():
            for parameter, start in zip(parameters, self.starts, strict=True):
                place, shape = slice(start, start + parameter.numel()), parameter.shape
                view = channels_last_view if channels_last and len(shape) == 4 else torch.Tensor.view
                values = view(self.values[place], shape)
                values.copy_(parameter.detach())
                parameter.data = values
                parameter.grad = view(self.all_gradients[place], shape)

    @staticmethod
    def _sorted(module: nn.Module) -> list[nn.Parameter]:
        """Return the trainable parameters, decayed ones first. Raises `UserError` where they are not alike."""
        trained = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
        if not trained:
            raise UserError("the model has no trainable parameter")
        dtype, device = trained[0][1].dtype, trained[0][1].device
        for name, parameter in trained:
            if parameter.dtype != dtype or parameter.device != device:
                raise UserError(
                    f"the model's parameter {name} is {parameter.dtype} on {parameter.device}, others are {dtype} "
                    f"on {device}: make them alike before training"
                )
        return sorted((parameter for _, parameter in trained), key=lambda parameter: parameter.ndim < 2)

    def _allocate(self, parameters: Sequence[nn.Parameter], shapes: Sequence[torch.Size], ledger_size: int) -> None:
        """Make the buffers for what this process holds of the parameters."""
        layout = FlatLayout.of(shapes)
        self.dtype, self.device = parameters[0].dtype, parameters[0].device
        self.parameters = list(parameters)
        """In the order in which they lie in the buffers."""
        self.num_parameters = sum(parameter.numel() for parameter in parameters)
        self.starts = [place.start for place in layout.places]
        # Of parameters with few rows a rank may hold none: kernels and loops need something all the same.
        size = max(layout.size, _ALIGNMENT)
        self.values = torch.zeros(size, dtype=self.dtype, device=self.device)
        self.all_gradients = torch.zeros(size + ledger_size, dtype=self.dtype, device=self.device)
        """The gradients and, at the end, the ledger: what is reduced."""
        undecayed = [start for start, one in zip(self.starts, parameters, strict=True) if one.ndim < 2]
        boundary = undecayed[0] if undecayed else size
        self.gradients = self.all_gradients[:size]
        self.ledger = self.all_gradients[size:]
        self.decayed_values = self.values[:boundary]
        self.decayed_gradients = self.gradients[:boundary]

    def check_attached(self) -> None:
        """Raise `RuntimeError` where something moved a parameter or a gradient out of the buffers."""
        for parameter in self.parameters:
            attached = parameter.grad is not None and (
                parameter.untyped_storage().data_ptr() == self.values.untyped_storage().data_ptr()
                and parameter.grad.untyped_storage().data_ptr() == self.all_gradients.untyped_storage().data_ptr()
            )
            if not attached:
                raise RuntimeError("a parameter was moved after it was made a view of the flat buffer")

    def zero_gradients(self) -> None:
        """Begin a step: gradients and ledger are zero."""
        self.all_gradients.zero_()

    def sync_model(self) -> None:
        """Let the model compute with `values` after they changed: it does, its parameters are views of them."""

    def to_checkpoint(self, own: torch.Tensor) -> torch.Tensor:
        """Return a vector such as `values` as checkpoints hold it: whole, each parameter contiguous.

        It is the vector itself, or a copy on the host where parameters lie otherwise.
        """
        if not self._images:
            return own
        own = own.cpu()
        whole = own.clone()
        for place, shape in self._images:
            whole[place].view(shape).copy_(channels_last_view(own[place], shape))
        return whole

    def from_checkpoint(self, whole: torch.Tensor) -> torch.Tensor:
        """Return a copy of what this process holds of a vector that a checkpoint held, on the device, laid out as `values`."""
        own = whole.to(self.device, copy=True)
        for place, shape in self._images:
            channels_last_view(own[place], shape).copy_(whole[place].view(shape))
        return own

    def state_dict(self, module: nn.Module) -> dict[str, torch.Tensor]:
        """Return the model's state; where the parameters are sharded, on rank 0, and all ranks call this."""
        return module.state_dict()

    def load_state_dict(self, module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
        """Set the model from a state. Raises `RuntimeError` where that is of another one."""
        module.load_state_dict(dict(state))

    def set_values(self, values: torch.Tensor) -> None:
        """Set all parameters from a snapshot of `values`."""
        with torch.no_grad():
            self.values.copy_(values)
        self.sync_model()

    @contextmanager
    def temporarily(self, values: torch.Tensor | None) -> Iterator[None]:
        """Compute with other values for a while, such as a moving average; none: with one's own."""
        if values is None:
            yield
            return
        own = self.values.clone()
        self.set_values(values)
        try:
            yield
        finally:
            self.set_values(own)

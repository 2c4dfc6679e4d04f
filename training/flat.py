"""Parameters and gradients of a model as two flat buffers: one zeroing, one reduction, one norm, one update.

Each parameter becomes a view of the first buffer and its gradient a view of the second, so autograd accumulates in place
and nothing is packed or unpacked. A parameter that takes no part in a step has a zero gradient, not none, whoever computes
which sample: what a step does cannot depend on the plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from training.errors import UserError

_ALIGNMENT = 16
"""Elements to which each parameter's start is aligned: 64 bytes in float32, as kernels for matrices like it."""


class FlatParameters:
    """The trainable parameters of a module, weight-decayed ones first (matrices), then the rest (biases, norms).

    After the gradients comes the ledger: a few numbers that ranks sum in the same reduction, such as the weight of the
    samples of a step.
    """

    def __init__(self, module: nn.Module, ledger_size: int) -> None:
        trained = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
        if not trained:
            raise UserError("the model has no trainable parameter")
        self.dtype, self.device = trained[0][1].dtype, trained[0][1].device
        for name, parameter in trained:
            if parameter.dtype != self.dtype or parameter.device != self.device:
                raise UserError(
                    f"the model's parameter {name} is {parameter.dtype} on {parameter.device}, others are {self.dtype} "
                    f"on {self.device}: make them alike before training"
                )
        decayed = [parameter for _, parameter in trained if parameter.ndim >= 2]
        undecayed = [parameter for _, parameter in trained if parameter.ndim < 2]
        self.parameters = [*decayed, *undecayed]
        """In the order in which they lie in the buffers."""
        self.starts, size = [], 0
        for parameter in self.parameters:
            self.starts.append(size)
            size += -(-parameter.numel() // _ALIGNMENT) * _ALIGNMENT
        self.values = torch.zeros(size, dtype=self.dtype, device=self.device)
        self.all_gradients = torch.zeros(size + ledger_size, dtype=self.dtype, device=self.device)
        """The gradients and, at the end, the ledger: what is reduced."""
        with torch.no_grad():
            for parameter, start in zip(self.parameters, self.starts, strict=True):
                place = slice(start, start + parameter.numel())
                self.values[place].copy_(parameter.detach().flatten())
                parameter.data = self.values[place].view(parameter.shape)
                parameter.grad = self.all_gradients[place].view(parameter.shape)
        boundary = self.starts[len(decayed)] if undecayed else size
        self.gradients = self.all_gradients[:size]
        self.ledger = self.all_gradients[size:]
        self.decayed_values = self.values[:boundary]
        self.decayed_gradients = self.gradients[:boundary]
        self.trained = nn.Parameter(self.values)
        """All trainable parameters as the one that an optimizer updates."""
        self.trained.grad = self.gradients
        self.num_parameters = sum(parameter.numel() for _, parameter in trained)

    def check_attached(self) -> None:
        """Raise `RuntimeError` where something moved a parameter or a gradient out of the buffers."""
        for parameter in self.parameters:
            attached = parameter.grad is not None and (
                parameter.untyped_storage().data_ptr() == self.values.untyped_storage().data_ptr()
                and parameter.grad.untyped_storage().data_ptr() == self.all_gradients.untyped_storage().data_ptr()
            )
            if not attached:
                raise RuntimeError("a parameter was moved after it was made a view of the flat buffer")

    def load(self, values: torch.Tensor) -> None:
        """Set all parameters from a snapshot of `values`."""
        with torch.no_grad():
            self.values.copy_(values)

    @contextmanager
    def using(self, values: torch.Tensor | None) -> Iterator[None]:
        """Compute with other values for a while, such as a moving average; none: with one's own."""
        if values is None:
            yield
            return
        own = self.values.clone()
        self.load(values)
        try:
            yield
        finally:
            self.load(own)

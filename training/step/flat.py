"""Parameters and gradients of a model as two flat buffers: one zeroing, one reduction, one norm, one update.

Each parameter becomes a view of the first buffer and its gradient a view of the second, so autograd accumulates in place
and nothing is packed or unpacked. A parameter that takes no part in a step has a zero gradient instead of `None`, whichever
rank computes which sample: what a step does cannot depend on the plan.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ..devices.ranks import Ranks
from .memory_format import channels_last_view
from .parameters import ParameterStore, Reduction, trainable_parameters
from .plain_names import own_state, plain_state
from .reduction import GradientReduction


class FlatParameters(ParameterStore):
    """All trainable parameters of a module on this process's device: the module's own are views of `values`.

    `with_frozen`: those too that are frozen and may be trained in a later stage.
    """

    passes_are_collective = False
    can_retry_after_out_of_memory = True
    checkpoints_are_collective = False

    def __init__(
        self, module: nn.Module, ledger_size: int, *, channels_last: bool = False, with_frozen: bool = False
    ) -> None:
        parameters = trainable_parameters(module, with_frozen=with_frozen)
        super().__init__(parameters, [parameter.shape for parameter in parameters], ledger_size)
        self._images = [
            (slice(start, start + parameter.numel()), parameter.shape)
            for parameter, start in zip(parameters, self.starts, strict=True)
            if channels_last and parameter.ndim == 4
        ]
        """Places and shapes of the parameters that lie in memory with their channels last."""
        with torch.no_grad():
            for parameter, start in zip(parameters, self.starts, strict=True):
                place, shape = slice(start, start + parameter.numel()), parameter.shape
                view = channels_last_view if channels_last and len(shape) == 4 else torch.Tensor.view
                values = view(self.values[place], shape)
                values.copy_(parameter.detach())
                parameter.data = values
                parameter.grad = view(self.all_gradients[place], shape)

    def check_attached(self) -> None:
        """Raise `RuntimeError` if something moved a parameter or a gradient out of the buffers."""
        for parameter in self.tensors:
            attached = parameter.grad is not None and (
                parameter.untyped_storage().data_ptr() == self.values.untyped_storage().data_ptr()
                and parameter.grad.untyped_storage().data_ptr() == self.all_gradients.untyped_storage().data_ptr()
            )
            if not attached:
                raise RuntimeError("a parameter was moved after it was made a view of the flat buffer")

    def zero_gradients(self) -> None:
        """Set gradients and ledger to zero at the start of a step."""
        self.all_gradients.zero_()

    def sync_model(self) -> None:
        """Do nothing: the model's parameters are views of `values`."""

    def make_reduction(self, ranks: Ranks, bucket_bytes: int | None) -> Reduction:
        """Return the all-reduce of the flat gradients; `None`: in a single bucket."""
        return GradientReduction(self, ranks, bucket_bytes)

    def persistent_storages(self, module: nn.Module) -> set[int]:
        """Return the addresses of all parameters' storages, the frozen ones' too."""
        return {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}

    def to_checkpoint(self, own: torch.Tensor) -> torch.Tensor:
        """Return the vector itself, or a contiguous copy on the host where parameters lie with their channels last."""
        if not self._images:
            return own
        own = own.cpu()
        complete = own.clone()
        for place, shape in self._images:
            complete[place].view(shape).copy_(channels_last_view(own[place], shape))
        return complete

    def from_checkpoint(self, complete: torch.Tensor) -> torch.Tensor:
        """Return a copy on the device, laid out as `values`."""
        own = complete.to(self.device, copy=True)
        for place, shape in self._images:
            channels_last_view(own[place], shape).copy_(complete[place].view(shape))
        return own

    def state_dict(self, module: nn.Module) -> dict[str, torch.Tensor]:
        """Return the model's state."""
        return plain_state(module, module.state_dict())

    def load_state_dict(self, module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
        """Set the model from a state. Raises `RuntimeError` if that is of another model."""
        module.load_state_dict(own_state(module, state))

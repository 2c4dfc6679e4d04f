"""Parameters sharded over the ranks by torch's FSDP2, each rank updates its own rows.

Zhao et al., "PyTorch FSDP", VLDB 2023. Every pass gathers and scatters: all ranks do equally many passes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Shard

from ..common.errors import UserError
from ..devices.ranks import Ranks
from .parameters import FlatLayout, ParameterStore, trainable_parameters
from .plain_names import plain_state


class ShardedParameters(ParameterStore):
    """This rank's rows of the trainable parameters; `sync_model` copies `values` into the model's shards.

    Vectors in checkpoints are laid out as those of `FlatParameters`: any world, sharded or not, reads them.
    """

    passes_are_collective = True
    can_retry_after_out_of_memory = False
    checkpoints_are_collective = True

    def __init__(self, module: nn.Module, ledger_size: int, ranks: Ranks) -> None:
        self._ranks = ranks
        parameters = trainable_parameters(module)
        self._complete = FlatLayout.of([parameter.shape for parameter in parameters])
        before = len(parameters)
        self._modules = shard_module(module, ranks)
        parameters = trainable_parameters(module)
        if len(parameters) != before:
            raise UserError(
                "--sharding fsdp: layers share a parameter, which would be untied; use --sharding replicate"
            )
        self._shards = [_local(parameter) for parameter in parameters]
        self._rows = [_rows_of(parameter, ranks) for parameter in parameters]
        super().__init__(parameters, [shard.shape for shard in self._shards], ledger_size)
        self._places = [
            self.values[start : start + shard.numel()].view(shard.shape)
            for start, shard in zip(self.starts, self._shards, strict=True)
        ]
        self._read_shards()

    def check_attached(self) -> None:
        """Raise `RuntimeError` if something replaced a shard."""
        if any(
            _local(one).data_ptr() != shard.data_ptr() for one, shard in zip(self.tensors, self._shards, strict=True)
        ):
            raise RuntimeError("a parameter was replaced after it was sharded")

    def sync_model(self) -> None:
        """Copy `values` into the model's shards."""
        self._reshard()
        with torch.no_grad():
            torch._foreach_copy_(self._shards, self._places)

    def _reshard(self) -> None:
        """Drop gathered parameters: a pass without a backward one, as in evaluation, leaves them, with their old values."""
        for module in self._modules:
            module.reshard()

    def _read_shards(self) -> None:
        """Set `values` from the model's shards."""
        with torch.no_grad():
            torch._foreach_copy_(self._places, self._shards)

    def zero_gradients(self) -> None:
        """Set gradients and ledger to zero; those too that a pass outside of a step left in the shards."""
        self.all_gradients.zero_()
        for parameter in self.tensors:
            parameter.grad = None

    def make_reduction(self, ranks: Ranks, bucket_bytes: int | None) -> ShardedReduction:
        """Return the sum of the ledger and of the gradients' norms: FSDP2 sums the gradients, in buckets of its own."""
        return ShardedReduction(self, ranks)

    def persistent_storages(self, module: nn.Module) -> set[int]:
        """Return nothing: each pass allocates the parameters that it gathers."""
        return set()

    def collect_gradients(self) -> None:
        """Move the gradients from the shards to `gradients`; a parameter that took no part has zero."""
        for parameter, start in zip(self.tensors, self.starts, strict=True):
            if parameter.grad is not None:
                gradient = _local(parameter.grad)
                self.gradients[start : start + gradient.numel()].copy_(gradient.flatten())
                parameter.grad = None

    def to_checkpoint(self, own: torch.Tensor) -> torch.Tensor:
        """Return all ranks' parts of a vector such as `values` on the host of rank 0, an empty one elsewhere. A collective."""
        complete = torch.zeros(self._complete.size if self._ranks.is_main else 0, dtype=own.dtype)
        for start, place, mine in zip(self.starts, self._complete.places, self._rows, strict=True):
            # One parameter at a time: no rank holds all of them on its device. Adding zero is exact.
            summed = own.new_zeros(place.stop - place.start)
            summed[mine].copy_(own[start : start + mine.stop - mine.start])
            self._ranks.sum_(summed)
            if self._ranks.is_main:
                complete[place].copy_(summed)
        return complete

    def from_checkpoint(self, complete: torch.Tensor) -> torch.Tensor:
        """Return a copy of this rank's part, on its device."""
        own = torch.zeros(self.values.numel(), dtype=complete.dtype, device=self.device)
        for start, place, mine in zip(self.starts, self._complete.places, self._rows, strict=True):
            own[start : start + mine.stop - mine.start].copy_(complete[place][mine])
        return own

    def state_dict(self, module: nn.Module) -> dict[str, torch.Tensor]:
        """Return the complete model's state on the host of rank 0, nothing elsewhere. A collective."""
        self._reshard()
        state = {}
        for name, tensor in plain_state(module, module.state_dict()).items():
            complete = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if self._ranks.is_main:
                state[name] = complete.cpu()
        return state

    def load_state_dict(self, module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
        """Set the model from the state of a complete one. Raises `RuntimeError` if that is of another model."""
        self._reshard()
        own = plain_state(module, module.state_dict())
        state = plain_state(module, state)
        if own.keys() != state.keys():
            raise RuntimeError(f"other tensors: {', '.join(sorted(own.keys() ^ state.keys()))}")
        with torch.no_grad():
            for name, tensor in own.items():
                if tensor.shape != state[name].shape:
                    raise RuntimeError(f"{name} is {list(tensor.shape)}, not {list(state[name].shape)}")
                if isinstance(tensor, DTensor):
                    mine = _rows_of(tensor, self._ranks)
                    local = _local(tensor)
                    local.copy_(state[name].flatten()[mine].view(local.shape))
                else:
                    tensor.copy_(state[name])
        self._read_shards()


class ShardedReduction:
    """Sums what FSDP2 does not: the ledger, and the square of the gradient's norm."""

    def __init__(self, parameters: ShardedParameters, ranks: Ranks) -> None:
        self._parameters, self._ranks = parameters, ranks
        self._facts = torch.zeros(parameters.ledger.numel() + 1, dtype=parameters.dtype, device=parameters.device)

    def overlap(self) -> None:
        """Do nothing: FSDP2 always reduces during the backward pass."""

    def finish(self, *, overlapped: bool) -> None:
        """Collect the gradients of this rank's rows, which FSDP2 has summed, and sum the ledger over the ranks."""
        parameters = self._parameters
        parameters.collect_gradients()
        self._facts[:-1].copy_(parameters.ledger)
        self._facts[-1] = parameters.gradients.square().sum()
        parameters.ledger.copy_(self._ranks.sum_(self._facts)[:-1])

    def gradient_norm(self) -> torch.Tensor:
        """Return the norm of the gradient of all ranks' rows."""
        return self._facts[-1].sqrt()


def shard_module(module: nn.Module, ranks: Ranks) -> list[FSDPModule]:
    """Shard a module's parameters over the ranks: each element of its lists of layers by itself, then the rest.

    Return the sharded modules. Gradients are summed, not averaged. A module names in `forward_methods` its other methods that
    compute. Raises `UserError` if torch cannot shard it.
    """
    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise UserError(f"--sharding fsdp: torch {torch.__version__} cannot sum sharded gradients; take a newer one")
    mesh = init_device_mesh(ranks.device.type, (ranks.size,))
    try:
        for layer in _layers(module):
            fully_shard(layer, mesh=mesh)
        fully_shard(module, mesh=mesh)
    except (ValueError, NotImplementedError) as error:
        raise UserError(f"--sharding fsdp: torch cannot shard this model ({error}); use --sharding replicate") from None
    for name in getattr(module, "forward_methods", ()):
        register_fsdp_forward_method(module, name)
    sharded: list[FSDPModule] = [one for one in module.modules() if isinstance(one, FSDPModule)]
    for one in sharded:
        one.set_gradient_divide_factor(1.0)
        one.set_force_sum_reduction_for_comms(True)  # gloo has nothing else
    return sharded


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost layers, each once: the elements of lists and sequences that have parameters."""
    for child in module.children():
        if isinstance(child, (nn.ModuleList, nn.Sequential)):
            yield from (layer for layer in dict.fromkeys(child) if any(True for _ in layer.parameters()))
        else:
            yield from _layers(child)


def _local(tensor: torch.Tensor) -> torch.Tensor:
    assert isinstance(tensor, DTensor)
    local = tensor.to_local()
    assert isinstance(local, torch.Tensor)
    return local.detach()


def _rows_of(tensor: torch.Tensor, ranks: Ranks) -> slice:
    """Return the elements of a flattened parameter that this rank holds: rows in chunks, as `torch.chunk` makes them."""
    assert isinstance(tensor, DTensor)
    assert tensor.placements == (Shard(0),)
    rows = tensor.shape[0]
    size = -(-rows // ranks.size)
    first, last = min(ranks.rank * size, rows), min((ranks.rank + 1) * size, rows)
    row = math.prod(tensor.shape[1:])
    assert _local(tensor).numel() == (last - first) * row
    return slice(first * row, last * row)

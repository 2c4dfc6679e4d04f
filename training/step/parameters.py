"""The interface of a model's trainable parameters: flat vectors for the optimizer step, whatever holds the model's own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import nn

from ..common.errors import UserError
from ..devices.ranks import Ranks

_ALIGNMENT = 16
"""Elements to which each parameter's start is aligned: 64 bytes in float32, as kernels for matrices need it."""


class FlatLayout(NamedTuple):
    """The places of tensors in a flat vector."""

    places: tuple[slice, ...]
    size: int

    @classmethod
    def of(cls, shapes: Sequence[torch.Size]) -> FlatLayout:
        """Return the layout of tensors one after another, each aligned."""
        places, size = [], 0
        for shape in shapes:
            places.append(slice(size, size + math.prod(shape)))
            size += -(-math.prod(shape) // _ALIGNMENT) * _ALIGNMENT
        return cls(tuple(places), size)


class Reduction(Protocol):
    """Sums what the ranks computed: afterwards all of them hold the same."""

    def overlap(self) -> None:
        """Reduce during the next backward pass, which is the step's last."""

    def finish(self, *, overlapped: bool) -> None:
        """Reduce what is not yet reduced, and wait."""

    def gradient_norm(self) -> torch.Tensor:
        """Return the norm of the complete reduced gradient, a scalar on the device."""
        ...


class ParameterStore(ABC):
    """Trainable parameters and their gradients as flat vectors: weight-decayed ones first (matrices), then biases and norms.

    After the gradients comes the ledger: a few numbers that ranks sum in the same reduction, such as the weight of the
    samples of a step.
    """

    passes_are_collective: ClassVar[bool]
    """Whether the ranks communicate within each forward and backward pass: all of them then do equally many passes."""
    can_retry_after_out_of_memory: ClassVar[bool]
    """Whether a rank that ran out of memory in a pass can do it again: no other rank waits for it within the pass."""
    checkpoints_are_collective: ClassVar[bool]
    """Whether all ranks take part in `to_checkpoint` and `state_dict`, which give the result to rank 0 only."""

    def __init__(self, parameters: Sequence[nn.Parameter], shapes: Sequence[torch.Size], ledger_size: int) -> None:
        """Allocate the vectors for parameters of which this process holds tensors of these shapes."""
        layout = FlatLayout.of(shapes)
        self.dtype, self.device = parameters[0].dtype, parameters[0].device
        self.tensors = list(parameters)
        """The model's parameters, in their order in the vectors."""
        self.num_parameters = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
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

    @abstractmethod
    def check_attached(self) -> None:
        """Raise `RuntimeError` if something replaced a parameter or gradient of the model."""

    @abstractmethod
    def zero_gradients(self) -> None:
        """Set gradients and ledger to zero at the start of a step."""

    @abstractmethod
    def sync_model(self) -> None:
        """Give the model `values` after they changed."""

    @abstractmethod
    def make_reduction(self, ranks: Ranks, bucket_bytes: int | None) -> Reduction:
        """Return how gradients and ledger are summed over the ranks; `None`: in a single bucket."""

    @abstractmethod
    def persistent_storages(self, module: nn.Module) -> set[int]:
        """Return the addresses of the module's storages that exist before a pass: it does not allocate them."""

    @abstractmethod
    def to_checkpoint(self, own: torch.Tensor) -> torch.Tensor:
        """Return a vector such as `values` as checkpoints hold it: of all ranks, each parameter contiguous."""

    @abstractmethod
    def from_checkpoint(self, complete: torch.Tensor) -> torch.Tensor:
        """Return a copy of what this process holds of a checkpoint's vector, on the device, laid out as `values`."""

    @abstractmethod
    def state_dict(self, module: nn.Module) -> dict[str, torch.Tensor]:
        """Return the state of the complete model."""

    @abstractmethod
    def load_state_dict(self, module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
        """Set the model from the state of a complete one. Raises `RuntimeError` if that is of another model."""

    def trained_places(self) -> list[slice]:
        """Return the places of the parameters that are not frozen, as few slices as possible."""
        ends = [*self.starts[1:], self.values.numel()]
        places: list[slice] = []
        for one, start, end in zip(self.tensors, self.starts, ends, strict=True):
            if not one.requires_grad:
                continue
            if places and places[-1].stop == start:
                places[-1] = slice(places[-1].start, end)
            else:
                places.append(slice(start, end))
        return places

    def check_trained(self, module: nn.Module, stage: str) -> None:
        """Raise `UserError` unless each parameter that a stage trains is held here, and there is one."""
        if self.passes_are_collective and any(not one.requires_grad for one in self.tensors):
            raise UserError(
                f"stage {stage}: begin_stage freezes parameters, which --sharding fsdp cannot; use replicate"
            )
        held = set(map(id, self.tensors))
        trained = [(name, one) for name, one in module.named_parameters() if one.requires_grad]
        if not trained:
            raise UserError(f"stage {stage}: it freezes every parameter; leave some to train")
        if left := [name for name, one in trained if id(one) not in held]:
            raise UserError(
                f"stage {stage}: begin_stage makes {left[0]} trainable, which is new, or of another dtype than what was "
                "trained before; make all parts of a model in build_model, in one dtype"
            )

    def set_values(self, values: torch.Tensor) -> None:
        """Set all parameters from a snapshot of `values`."""
        with torch.no_grad():
            self.values.copy_(values)
        self.sync_model()

    @contextmanager
    def temporarily(self, values: torch.Tensor | None) -> Iterator[None]:
        """Let the model compute with other values within the block, such as a moving average; `None`: with its own."""
        if values is None:
            yield
            return
        own = self.values.clone()
        self.set_values(values)
        try:
            yield
        finally:
            self.set_values(own)


def trainable_parameters(module: nn.Module, *, with_frozen: bool = False) -> list[nn.Parameter]:
    """Return a module's trainable parameters, weight-decayed ones first.

    `with_frozen`: also those frozen ones that a later stage can train, which have the same dtype and device. Raises `UserError`
    if none is trainable, or if they differ in dtype or device.
    """
    trained = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    if not trained:
        raise UserError("the model has no trainable parameter")
    dtype, device = trained[0][1].dtype, trained[0][1].device
    for name, parameter in trained:
        if parameter.dtype != dtype or parameter.device != device:
            raise UserError(
                f"the model's parameter {name} is {parameter.dtype} on {parameter.device}, others are {dtype} "
                f"on {device}: give them one dtype and device before training"
            )
    if with_frozen:
        trained = [(name, one) for name, one in module.named_parameters() if (one.dtype, one.device) == (dtype, device)]
    return sorted((parameter for _, parameter in trained), key=lambda parameter: parameter.ndim < 2)

"""Update flat parameters by AdamW or SGD: an update can be skipped without waiting for the device, and rolled back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from ..config.recipe import OptimizerSpec, Stage
from ..devices.memory import is_out_of_memory, release_memory
from .parameters import ParameterStore

_FUSED_DEVICES = ("cpu", "cuda", "xpu", "mps")
"""Devices for which torch updates a tensor in one kernel, which allocates nothing and can skip the update by a flag."""

_CHUNK_ELEMENTS = 1 << 22
"""On other devices: elements updated at a time, which bounds the memory for temporary tensors and for a roll-back."""

_DECAYED_APART_ELEMENTS = 1 << 18
"""From this size on AdamW's kernel decays the matrices itself, in a second call; below, the call costs more than it saves."""


class StepOptimizer(ABC):
    """Updates the parameters of a model by their gradients, once in a step."""

    @abstractmethod
    def begin_stage(self, stage: Stage) -> None:
        """Start a stage with a new state."""

    @abstractmethod
    def update(self, learning_rate: float, weight_decay: float, is_finite: torch.Tensor | None = None) -> None:
        """Update the parameters by their gradients; not if `is_finite`, a boolean scalar on the device, is false."""

    @abstractmethod
    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the state as checkpoints hold it. A collective if those of the parameters are."""

    @abstractmethod
    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Set the state of a new stage from what `tensors` returned, in which other entries may stand."""


class FlatOptimizer(StepOptimizer):
    """AdamW or SGD with momentum over flat parameters. Its state is allocated at the start, so that no step runs out of memory.

    Weight decay is for matrices only: for AdamW apart from the gradient (Loshchilov and Hutter, 2019), for SGD in it.
    """

    def __init__(self, spec: OptimizerSpec, parameters: ParameterStore) -> None:
        self._spec = spec
        self._parameters = parameters
        self._fused = parameters.device.type in _FUSED_DEVICES
        names = ("exp_avg", "exp_avg_sq") if spec.name == "adamw" else ("momentum_buffer",)
        self.moments = {name: torch.zeros_like(parameters.values) for name in names}
        self._decays_in_kernel = (
            self._fused and spec.name == "adamw" and parameters.values.numel() >= _DECAYED_APART_ELEMENTS
        )
        self.follow_frozen()
        largest = 0 if self._fused else min(parameters.values.numel(), _CHUNK_ELEMENTS)
        self._kept = [parameters.values.new_empty(largest) for _ in (parameters.values, *self.moments.values())]
        """Copy of a chunk before its update, allocated at the start: keeping it must not run out of memory."""

    def follow_frozen(self) -> None:
        """Update from now on the parameters that are not frozen: the others have no decay and no state."""
        boundary = self._parameters.decayed_values.numel()
        trained = self._parameters.trained_places()
        self._decayed = [slice(one.start, min(one.stop, boundary)) for one in trained if one.start < boundary]
        """The places whose weights decay."""
        self._places = [chunk for place in trained for chunk in self._chunks(place)]
        self._counts = [torch.zeros((), device=self._parameters.device if self._fused else "cpu") for _ in self._places]
        """Updates of each chunk, as the kernels need them; SGD does not use them."""
        self._parts = [self._part(place) for place in self._places]
        """Values, gradients and moments of each chunk, each as a list of one tensor, as torch's functions take them."""

    def _chunks(self, place: slice) -> list[slice]:
        if self._decays_in_kernel:
            boundary = min(max(self._parameters.decayed_values.numel(), place.start), place.stop)
            parts = (slice(place.start, boundary), slice(boundary, place.stop))
            return [part for part in parts if part.start < part.stop]
        length = place.stop - place.start if self._fused else _CHUNK_ELEMENTS
        return [
            slice(start, min(place.stop, start + length)) for start in range(place.start, place.stop, max(1, length))
        ]

    def _part(self, place: slice) -> tuple[list[torch.Tensor], ...]:
        tensors = (self._parameters.values, self._parameters.gradients, *self.moments.values())
        return tuple([tensor[place]] for tensor in tensors)

    def begin_stage(self, stage: Stage) -> None:
        """Set the moments to zero."""
        self.reset()

    def reset(self) -> None:
        """Set the moments to zero, in place: a new stage needs no new memory. What it freezes is left as it is."""
        self.follow_frozen()
        for moment in self.moments.values():
            moment.zero_()
        self.set_updates(0)

    @property
    def updates(self) -> int:
        """Updates since the start of the stage that were not skipped, by which Adam corrects its bias; 0 for SGD."""
        return int(self._counts[0])

    def set_updates(self, count: int) -> None:
        """Set `updates`, as from a checkpoint."""
        for updates in self._counts:
            updates.fill_(count)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the moments as checkpoints hold vectors, and the number of updates."""
        moments = {name: self._parameters.to_checkpoint(moment) for name, moment in self.moments.items()}
        return {**moments, "updates": torch.tensor(self.updates)}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Set moments and updates; a moment that another optimizer left out is zero."""
        for name, moment in self.moments.items():
            if name in tensors:
                moment.copy_(self._parameters.from_checkpoint(tensors[name]))
            else:
                moment.zero_()
        self.set_updates(int(tensors.get("updates", 0)))

    def update(self, learning_rate: float, weight_decay: float, is_finite: torch.Tensor | None = None) -> None:
        """Update the parameters by their gradients; not if `is_finite`, a boolean scalar on the device, is false."""
        if not self._fused:
            if is_finite is None or bool(is_finite):
                self._update_in_chunks(learning_rate, weight_decay)
            return
        if not self._decays_in_kernel:
            self._decay(learning_rate, weight_decay, is_finite)
        # As torch's GradScaler passes it: the kernel then writes nothing.
        found_inf = None if is_finite is None else is_finite.logical_not().to(torch.float32)
        boundary = self._parameters.decayed_values.numel()
        for chunk, place in enumerate(self._places):
            decays = self._decays_in_kernel and place.start < boundary
            self._step(chunk, learning_rate, found_inf, weight_decay if decays else 0.0)

    @torch.no_grad()
    def _step(
        self, chunk: int, learning_rate: float, found_inf: torch.Tensor | None = None, weight_decay: float = 0.0
    ) -> None:
        """Update a chunk, by torch's functional optimizers: what the classes add costs more than a small model's update."""
        spec = self._spec
        values, gradients, *moments = self._parts[chunk]
        if spec.name == "sgd":
            sgd(
                values,
                gradients,
                [*moments[0]],
                foreach=False,
                fused=self._fused,
                found_inf=found_inf,
                lr=learning_rate,
                momentum=spec.momentum,
                weight_decay=0.0,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            return
        # Decay apart from the gradient; without any `adam` is shorter.
        (adamw if weight_decay else adam)(
            values,
            gradients,
            moments[0],
            moments[1],
            [],
            [self._counts[chunk]],
            foreach=False,
            fused=self._fused,
            found_inf=found_inf,
            lr=learning_rate,
            beta1=spec.beta1,
            beta2=spec.beta2,
            eps=spec.eps,
            weight_decay=weight_decay,
            amsgrad=False,
            maximize=False,
        )

    def _decay(self, learning_rate: float, weight_decay: float, is_finite: torch.Tensor | None) -> None:
        if weight_decay == 0.0:
            return
        with torch.no_grad():
            if self._spec.name == "adamw":
                applies = 1.0 if is_finite is None else is_finite.to(self._parameters.dtype)
                for place in self._decayed:
                    self._parameters.values[place].mul_(1.0 - learning_rate * weight_decay * applies)
            else:
                for place in self._decayed:
                    self._parameters.gradients[place].add_(self._parameters.values[place], alpha=weight_decay)

    def _update_in_chunks(self, learning_rate: float, weight_decay: float) -> None:
        self._decay(learning_rate, weight_decay, None)
        for chunk, (part, count) in enumerate(zip(self._parts, self._counts, strict=True)):
            (values,), _, *moments = part
            touched = [values, *(moment for (moment,) in moments)]
            updates = int(count)
            with torch.no_grad():
                for kept, tensor in zip(self._kept, touched, strict=True):
                    kept[: tensor.numel()].copy_(tensor)
            try:
                self._step(chunk, learning_rate)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                # Some of the chunk's tensors may be changed. Other ranks are not involved: this rank tries again.
                error.__traceback__ = None
                with torch.no_grad():
                    for kept, tensor in zip(self._kept, touched, strict=True):
                        tensor.copy_(kept[: tensor.numel()])
                count.fill_(updates)
                release_memory(self._parameters.device)
                self._step(chunk, learning_rate)

"""The optimizer over the flat parameters: an update that can be skipped without asking the device, and rolled back."""

from __future__ import annotations

from typing import Any

import torch

from training.flat import FlatParameters
from training.memory import is_out_of_memory, release_memory
from training.recipe import OptimizerSpec

_FUSED_DEVICES = ("cpu", "cuda", "xpu", "mps")
"""Where torch has optimizers that update a tensor in one kernel, which allocates nothing and can be told to do nothing."""

_CHUNK_ELEMENTS = 1 << 22
"""Elsewhere: elements updated at a time, so that what is allocated on the way, and kept for a roll-back, is bounded."""


class FlatOptimizer:
    """AdamW or SGD with momentum over flat parameters. Its state exists from the start, so no step is the first to need it.

    Weight decay is its own: for AdamW apart from the gradient (Loshchilov and Hutter, 2019), for SGD in it, and for matrices
    only.
    """

    def __init__(self, spec: OptimizerSpec, flat: FlatParameters) -> None:
        self._spec = spec
        self._flat = flat
        self._fused = flat.device.type in _FUSED_DEVICES
        names = ("exp_avg", "exp_avg_sq") if spec.name == "adamw" else ("momentum_buffer",)
        self.moments = {name: torch.zeros_like(flat.values) for name in names}
        self._optimizers = [self._make(place) for place in self._chunks()]

    def _chunks(self) -> list[slice]:
        size = self._flat.values.numel()
        length = size if self._fused else _CHUNK_ELEMENTS
        return [slice(start, min(size, start + length)) for start in range(0, size, length)]

    def _make(self, place: slice) -> torch.optim.Optimizer:
        spec = self._spec
        parameter = torch.nn.Parameter(self._flat.values[place])
        parameter.grad = self._flat.gradients[place]
        options: dict[str, Any] = {"lr": 0.0, "fused": self._fused}
        optimizer: torch.optim.Optimizer
        state: dict[str, torch.Tensor] = {name: moment[place] for name, moment in self.moments.items()}
        if spec.name == "adamw":
            optimizer = torch.optim.Adam([parameter], betas=(spec.beta1, spec.beta2), eps=spec.eps, **options)
            state["step"] = torch.zeros((), device=parameter.device if self._fused else "cpu")
        else:
            optimizer = torch.optim.SGD([parameter], momentum=spec.momentum, **options)
        optimizer.state[parameter] = state
        return optimizer

    def reset(self) -> None:
        """Forget what was learned about the gradients, in place: a new stage needs no new memory."""
        for moment in self.moments.values():
            moment.zero_()
        self.set_updates(0)

    @property
    def updates(self) -> int:
        """Updates that were not skipped since the start of the stage, which Adam corrects its bias by."""
        steps = (state.get("step") for state in self._optimizers[0].state.values())
        return next((int(step) for step in steps if step is not None), 0)

    def set_updates(self, count: int) -> None:
        """Set what `updates` returns, as from a checkpoint."""
        for optimizer in self._optimizers:
            for state in optimizer.state.values():
                if "step" in state:
                    state["step"].fill_(count)

    def update(self, learning_rate: float, weight_decay: float, sound: torch.Tensor) -> None:
        """Update the parameters by their gradients where `sound`, a scalar truth value on the device, else nothing."""
        if not self._fused:
            if bool(sound):
                self._update_in_chunks(learning_rate, weight_decay)
            return
        self._decay(learning_rate, weight_decay, sound)
        (optimizer,) = self._optimizers
        optimizer.param_groups[0]["lr"] = learning_rate
        # What GradScaler tells a fused optimizer; a kernel told so writes nothing.
        optimizer.found_inf = sound.logical_not().to(torch.float32)  # type: ignore[attr-defined]
        optimizer.step()

    def _decay(self, learning_rate: float, weight_decay: float, sound: torch.Tensor) -> None:
        if weight_decay == 0.0:
            return
        with torch.no_grad():
            if self._spec.name == "adamw":
                self._flat.decayed_values.mul_(1.0 - learning_rate * weight_decay * sound.to(self._flat.dtype))
            else:
                self._flat.decayed_gradients.add_(self._flat.decayed_values, alpha=weight_decay)

    def _update_in_chunks(self, learning_rate: float, weight_decay: float) -> None:
        self._decay(learning_rate, weight_decay, torch.ones((), device=self._flat.device))
        for place, optimizer in zip(self._chunks(), self._optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = learning_rate
            touched = [self._flat.values[place], *(moment[place] for moment in self.moments.values())]
            kept = [tensor.clone() for tensor in touched]
            updates = self.updates
            try:
                optimizer.step()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                # Half of the chunk's tensors may be changed. Nothing is shared with other ranks here: this rank tries again.
                error.__traceback__ = None
                with torch.no_grad():
                    for tensor, old in zip(touched, kept, strict=True):
                        tensor.copy_(old)
                for state in optimizer.state.values():
                    if "step" in state:
                        state["step"].fill_(updates)
                release_memory(self._flat.device)
                optimizer.step()


class LossScale:
    """The factor that keeps fp16 gradients from vanishing: halved when one overflows, doubled after a quiet time.

    Micikevicius et al., "Mixed precision training", ICLR 2018, section 3.2. It stays on the device, so nothing waits for it.
    """

    def __init__(self, initial: float, device: torch.device, *, enabled: bool, growth_interval: int = 2000) -> None:
        self.enabled = enabled
        self._growth_interval = growth_interval
        self.scale = torch.full((), initial if enabled else 1.0, device=device)
        self.quiet_updates = torch.zeros((), device=device)

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss to differentiate."""
        return loss * self.scale.to(loss.dtype) if self.enabled else loss

    def unscale(self, factor: torch.Tensor) -> torch.Tensor:
        """Return a factor of the gradients that takes the scale out of them too."""
        return factor / self.scale if self.enabled else factor

    def update(self, sound: torch.Tensor) -> None:
        """Adapt the scale after an update."""
        if not self.enabled:
            return
        self.quiet_updates.add_(1.0).mul_(sound)
        grows = self.quiet_updates >= self._growth_interval
        self.scale.mul_(torch.where(sound, torch.where(grows, 2.0, 1.0), 0.5))
        self.quiet_updates.mul_(grows.logical_not())

"""One optimizer step: any cut of a global batch into ranks and micro-batches gives the same gradient.

Losses are summed, the weight of their samples is counted in the same reduction, and the division comes after it, before
clipping. Nothing here waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from training.collectives import Ranks
from training.flat import FlatParameters
from training.recipe import OptimizerSpec, Recipe, Stage
from training.reduction import sum_hook
from training.tasks.task import Batch, Task

_FUSED_DEVICES = ("cpu", "cuda", "xpu", "mps")
"""Where torch has optimizers that update a tensor in one kernel."""


class Replica(nn.Module):
    """A task's model together with the ledger, which is reduced like a gradient."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task = task
        self.model = model
        reference = next(model.parameters())
        self.ledger = nn.Parameter(torch.zeros(2, dtype=reference.dtype, device=reference.device))

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return the model's outputs for a batch."""
        return self.task.forward(self.model, batch)


def make_optimizer(spec: OptimizerSpec, flat: FlatParameters) -> torch.optim.Optimizer:
    """Return a fresh optimizer over the flat parameters: one tensor, one kernel. Weight decay is `decay_weights`."""
    fused = flat.device.type in _FUSED_DEVICES
    if spec.name == "adamw":
        return torch.optim.Adam([flat.trained], lr=0.0, betas=(spec.beta1, spec.beta2), eps=spec.eps, fused=fused)
    return torch.optim.SGD([flat.trained], lr=0.0, momentum=spec.momentum, fused=fused)


def decay_weights(
    spec: OptimizerSpec, flat: FlatParameters, learning_rate: float, weight_decay: float, applies: torch.Tensor | None
) -> None:
    """Decay the matrices, before the update: for AdamW apart from the gradient (Loshchilov and Hutter, 2019), for SGD in it.

    `applies` is a scalar, false where the update will be skipped; none: it will not be.
    """
    if weight_decay == 0.0:
        return
    with torch.no_grad():
        if spec.name == "adamw":
            decay = learning_rate * weight_decay
            flat.decayed_values.mul_(1.0 - (decay if applies is None else decay * applies))
        else:
            flat.decayed_gradients.add_(flat.decayed_values, alpha=weight_decay)


class StepOutcome(NamedTuple):
    """What a step found, over all ranks, on the device."""

    ledger: torch.Tensor
    """[weight of the samples, sum of their losses]."""
    loss: torch.Tensor
    """Mean over the global batch, a scalar."""
    gradient_norm: torch.Tensor
    """Before clipping, a scalar."""


class TrainStep:
    """Turns the micro-batches of this rank into one optimizer step of all ranks."""

    def __init__(
        self,
        *,
        task: Task,
        replica: Replica,
        parallel: nn.Module,
        flat: FlatParameters,
        ranks: Ranks,
        recipe: Recipe,
    ) -> None:
        self.flat = flat
        self._task = task
        self._replica = replica
        self._parallel = parallel if isinstance(parallel, DistributedDataParallel) else None
        if self._parallel is not None:
            self._parallel.register_comm_hook(None, sum_hook)
        self._ranks = ranks
        self._spec = recipe.optimizer
        self._autocast = self._make_autocast(recipe.resolved.mixed_precision)
        # Losses are summed over a batch, not averaged: the scale starts lower by that much, to the next power of two.
        rows = 2.0 ** math.ceil(math.log2(recipe.resolved.global_batch_size))
        self._scaler = torch.amp.GradScaler(
            ranks.device.type, init_scale=65536.0 / rows, enabled=recipe.resolved.mixed_precision == "fp16"
        )
        self.optimizer = make_optimizer(self._spec, flat)
        self._weight, self._loss_sum = flat.ledger.unbind()
        self.average: torch.Tensor | None = None

    def _make_autocast(self, mixed_precision: str) -> Callable[[], AbstractContextManager[Any]]:
        if mixed_precision == "no":
            return nullcontext
        dtype = torch.bfloat16 if mixed_precision == "bf16" else torch.float16
        return lambda: torch.autocast(self._ranks.device.type, dtype=dtype)

    def begin_stage(self, stage: Stage) -> None:
        """Start a stage: a fresh optimizer, and a moving average from the weights as they are."""
        self.optimizer = make_optimizer(self._spec, self.flat)
        self.average = self.flat.values.clone() if self._spec.ema_decay is not None else None

    def run(
        self,
        micro_batches: Iterable[Batch],
        *,
        num_micro_batches: int,
        stand_in: Callable[[], Batch],
        stage: Stage,
        learning_rate: float,
        ema_decay: float,
    ) -> StepOutcome:
        """Do one optimizer step.

        A rank with no micro-batch takes part all the same; where the reduction overlaps with the backward pass it needs
        `stand_in`, a batch that counts nothing.
        """
        self.flat.all_gradients.zero_()
        for number, batch in enumerate(micro_batches, 1):
            self._accumulate(batch, stage, reduce=number == num_micro_batches)
        if num_micro_batches == 0 and self._parallel is not None:
            self._accumulate(stand_in(), stage, reduce=True, counts=False)
        if self._parallel is None:
            self._ranks.sum_(self.flat.all_gradients)
        return self._update(learning_rate, stage.weight_decay, ema_decay)

    def _accumulate(self, batch: Batch, stage: Stage, *, reduce: bool, counts: bool = True) -> None:
        overlapped = reduce and self._parallel is not None
        with self._autocast():
            outputs = self._parallel(batch) if overlapped and self._parallel is not None else self._replica(batch)
            losses = self._task.losses(outputs, batch, stage)
        weights = self._task.weights(batch)
        # In the ledger's precision: bfloat16 counts exactly to 256 only.
        loss_sum = losses.sum(dtype=self._replica.ledger.dtype)
        if not overlapped:
            self._weight.add_(len(losses) if weights is None else weights.sum())
            self._loss_sum.add_(loss_sum.detach())
            self._scaler.scale(loss_sum).backward()
            return
        # The ledger must pass through autograd here, for DistributedDataParallel reduces what arrives as gradients.
        weight = loss_sum.new_tensor(float(len(losses))) if weights is None else weights.sum().to(loss_sum.dtype)
        counted = torch.stack([weight, loss_sum.detach()]) * float(counts)
        entry = (self._replica.ledger * counted.to(self._replica.ledger.dtype)).sum()
        (self._scaler.scale(loss_sum * float(counts)) + entry).backward()

    def _update(self, learning_rate: float, weight_decay: float, ema_decay: float) -> StepOutcome:
        flat = self.flat
        self._scaler.unscale_(self.optimizer)
        ledger = flat.ledger.clone()
        weight, loss_sum = ledger.unbind()
        factor = weight.clamp(min=torch.finfo(weight.dtype).tiny).reciprocal()
        norm = torch.linalg.vector_norm(flat.gradients) * factor
        if self._spec.clip_norm is not None:
            # As torch.nn.utils.clip_grad_norm_, in the same pass as the division.
            factor = factor * (self._spec.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        flat.gradients.mul_(factor)
        self.optimizer.param_groups[0]["lr"] = learning_rate
        # The scaler skips an update whose gradient overflowed, so the decay must be skipped with it.
        applies = norm.isfinite() if self._scaler.is_enabled() else None
        decay_weights(self._spec, flat, learning_rate, weight_decay, applies)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self.average is not None:
            self.average.lerp_(flat.values, 1.0 - ema_decay)
        return StepOutcome(ledger, loss_sum / weight, norm)

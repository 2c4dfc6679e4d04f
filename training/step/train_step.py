"""One optimizer step: any cut of a global batch into ranks and micro-batches gives the same gradient.

Losses are summed, the weight of their samples is counted in the same reduction, and the division comes after it, before
clipping. The same reduction tells every rank whether one of them ran out of memory or was asked to stop, so neither costs a
collective of its own. Nothing here waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn

from ..common.errors import TrainingFailed
from ..config.recipe import Recipe, Stage
from ..devices.memory import CANNOT_TRY_AGAIN, MemoryReserve, drop_traceback, out_of_memory_message, release_memory
from ..devices.ranks import Ranks
from ..observers.profiling.sections import UNMARKED, Sections
from ..tasks.task import Batch, Task
from .compilation import Forward
from .loss_scale import LossScale
from .optimizer import FlatOptimizer
from .parameters import ParameterStore


class StepFlags(NamedTuple):
    """Flags a rank adds to the step's all-reduce; afterwards, whether any rank raised them."""

    stop: bool = False
    """It was asked to stop."""
    save: bool = False
    """It is time to save the run."""
    memory_is_short: bool = False
    """The next pass would hardly fit."""
    memory_is_tight: bool = False
    """One of twice the size could not be planned."""


_NO_FLAGS = StepFlags()

LEDGER_SIZE = 3 + len(StepFlags._fields)
"""What the ranks sum beside the gradients: the weight of the samples, the sum of their losses, infinity where a rank ran
out of memory, and for each of the `StepFlags` how many ranks raised it."""


class Failure(NamedTuple):
    """How a rank ran out of memory."""

    micro_batch: int
    """Which of its micro-batches did not fit, from 0."""
    message: str
    """In the allocator's words."""


class StepOutcome(NamedTuple):
    """What a step found, over all ranks; the same on each."""

    weight: float
    """Of the samples of the global batch."""
    loss: float
    """Mean over the global batch."""
    gradient_norm: float
    """Before clipping."""
    out_of_memory: bool
    """Some rank ran out of memory: nothing was updated, and the same global batch is to be computed again."""
    flags: StepFlags

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient are finite; if not, the update was skipped."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)


class PendingStep:
    """A step whose outcome may still be on its way from the device."""

    def __init__(self, facts: torch.Tensor | list[float], failure: Failure | None = None) -> None:
        self.failure = failure
        """How this rank ran out of memory, if it did."""
        self._event: Any = None
        if isinstance(facts, torch.Tensor) and facts.device.type in ("cuda", "xpu"):
            # Waiting for the copy alone leaves what is queued behind it running.
            device = facts.device.type
            facts = facts.to("cpu", non_blocking=True)
            self._event = getattr(torch, device).Event()
            self._event.record()
        self._facts = facts

    def read(self) -> StepOutcome:
        """Wait for the outcome and return it."""
        if self._event is not None:
            self._event.synchronize()
        facts = self._facts.tolist() if isinstance(self._facts, torch.Tensor) else self._facts
        weight, loss_sum, out_of_memory, *raised, norm = facts
        return StepOutcome(
            weight=weight,
            loss=loss_sum / weight if weight else math.nan,
            gradient_norm=norm,
            out_of_memory=out_of_memory != 0.0,
            flags=StepFlags(*(ranks > 0.0 for ranks in raised)),
        )


class TrainStep:
    """Turns the micro-batches of this rank into one optimizer step of all ranks."""

    def __init__(
        self,
        *,
        task: Task,
        model: nn.Module,
        flat: ParameterStore,
        ranks: Ranks,
        recipe: Recipe,
        forward: Forward | None = None,
        bucket_bytes: int | None = None,
        sections: Sections = UNMARKED,
    ) -> None:
        self.flat = flat
        self.forward = forward or task.forward
        self._task = task
        self._model = model
        self._sections = sections
        self._device, self._rank = ranks.device, ranks.rank
        self._weight, self._loss_sum, self._out_of_memory, *self._flags = flat.ledger.unbind()
        self._reduction = flat.make_reduction(ranks, bucket_bytes)
        self._reserve = MemoryReserve(ranks.device)
        self._spec = recipe.optimizer
        self._autocast = self._make_autocast(recipe.resolved.mixed_precision)
        # Losses are summed over a batch, not averaged: the scale starts lower by that much, to the next power of two.
        rows = 2.0 ** math.ceil(math.log2(recipe.resolved.global_batch_size))
        self.loss_scale = LossScale(65536.0 / rows, ranks.device, enabled=recipe.resolved.mixed_precision == "fp16")
        self.optimizer = FlatOptimizer(self._spec, flat)
        self.average: torch.Tensor | None = None
        self.is_finite = torch.ones((), dtype=torch.bool, device=flat.device)
        """Whether the last step updated anything; on the device."""
        self._halted = torch.zeros((), dtype=flat.dtype, device=flat.device)
        """Infinite from a step that ran out of memory until `resume`: steps queued behind it update nothing."""
        self.queues = ranks.device.type != "cpu"
        """Whether a step's outcome is only known when the device has computed it; if not, it is computed with by the host."""

    def _make_autocast(self, mixed_precision: str) -> Callable[[], AbstractContextManager[Any]]:
        if mixed_precision == "no":
            return nullcontext
        dtype = torch.bfloat16 if mixed_precision == "bf16" else torch.float16
        return lambda: torch.autocast(self._device.type, dtype=dtype)

    def begin_stage(self) -> None:
        """Start a stage: a fresh optimizer, and a moving average from the weights as they are."""
        self.optimizer.reset()
        if self._spec.ema_decay is not None:
            self.average = self.flat.values.clone()

    def resume(self) -> None:
        """Update again, after a step that ran out of memory was told."""
        self._halted.zero_()

    def run(
        self,
        micro_batches: Iterable[Batch],
        *,
        num_micro_batches: int,
        num_padding: int = 0,
        stage: Stage,
        learning_rate: float,
        ema_decay: float,
        overlapped: bool = False,
        flags: StepFlags = _NO_FLAGS,
    ) -> PendingStep:
        """Do one optimizer step. A rank with no micro-batch, or out of memory, takes part in the reduction all the same.

        The last `num_padding` of the micro-batches count for nothing. With `overlapped` gradients are reduced while the last
        backward pass goes on. `flags` are this rank's. Raises `TrainingFailed` where memory runs out with sharded
        parameters.
        """
        num_counted = num_micro_batches - num_padding
        self.flat.zero_gradients()
        self._reserve.hold()
        failure, done, batch = None, 0, None
        try:
            for batch in micro_batches:
                is_last = done + 1 == num_micro_batches
                self.accumulate(batch, stage, overlapped=overlapped and is_last, counts=done < num_counted)
                done += 1
        except Exception as error:
            message = out_of_memory_message(error)
            if message is None:
                raise
            if not self.flat.can_retry_after_out_of_memory:
                raise TrainingFailed(f"memory ran out on rank {self._rank} ({message}): {CANNOT_TRY_AGAIN}") from None
            drop_traceback(error)
            failure = Failure(done, message)
        if failure is not None:
            del batch  # a whole micro-batch of inputs
            self._reserve.release()
            release_memory(self._device)
            self._out_of_memory.fill_(math.inf)
        for entry, is_raised in zip(self._flags, flags, strict=True):
            if is_raised:
                entry.fill_(1.0)
        with self._sections.reduce:
            self._reduction.finish(overlapped=overlapped)
        update = self._update if self.queues or self.loss_scale.enabled else self._update_on_host
        with self._sections.optimizer:
            facts = update(learning_rate, stage.weight_decay, ema_decay)
        return PendingStep(facts, failure)

    def accumulate(self, batch: Batch, stage: Stage, *, overlapped: bool = False, counts: bool = True) -> None:
        """Add a micro-batch's gradients, weight and losses to what is reduced; where it does not count, zeros."""
        with self._sections.forward, self._autocast():
            outputs = self.forward(self._model, batch)
            losses = self._task.losses(outputs, batch, stage)
        weights = self._task.weights(batch)
        # In the ledger's precision: bfloat16 counts exactly to 256 only.
        loss_sum = losses.sum(dtype=self.flat.dtype)
        if counts:
            self._weight.add_(len(losses) if weights is None else weights.sum())
            self._loss_sum.add_(loss_sum.detach())
        else:
            loss_sum = loss_sum * 0.0
        if overlapped:
            # The reduction needs some memory too, and cannot fail alone: the other ranks would lose the connection.
            self._reserve.release()
            self._reduction.overlap()
        with self._sections.backward:
            self.loss_scale.scaled(loss_sum).backward()

    def _update(self, learning_rate: float, weight_decay: float, ema_decay: float) -> torch.Tensor:
        flat = self.flat
        weight = self._weight.clamp(min=torch.finfo(flat.dtype).tiny)
        factor = self.loss_scale.unscale(weight.reciprocal())
        norm = self._reduction.gradient_norm() * factor
        if self._spec.clip_norm is not None:
            # As torch.nn.utils.clip_grad_norm_, in the same pass as the division.
            factor = factor * (self._spec.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        self._halted.add_(self._out_of_memory)
        # An infinite loss times zero is not a number, which nothing added to it mends.
        is_finite = self.is_finite = (norm + self._halted + self._loss_sum * 0.0).isfinite() & (self._weight > 0.0)
        flat.gradients.mul_(factor)
        self.optimizer.update(learning_rate, weight_decay, is_finite)
        flat.sync_model()
        self.loss_scale.update(is_finite, counts=self._halted.isfinite())
        if self.average is not None:
            self.average.lerp_(flat.values, (1.0 - ema_decay) * is_finite.to(flat.dtype))
        return torch.cat([flat.ledger, norm.view(1)])

    def _update_on_host(self, learning_rate: float, weight_decay: float, ema_decay: float) -> list[float]:
        """Do what `_update` does where nothing is queued: numbers cost a tenth of what tensors without dimensions do."""
        flat = self.flat
        ledger: list[float] = flat.ledger.tolist()
        weight, loss_sum, out_of_memory = ledger[:3]
        factor = 1.0 / weight if weight else 0.0
        norm = float(self._reduction.gradient_norm()) * factor
        is_finite = math.isfinite(norm + out_of_memory + loss_sum * 0.0) and weight > 0.0
        self.is_finite.fill_(is_finite)
        if is_finite:
            if self._spec.clip_norm is not None:
                factor *= min(1.0, self._spec.clip_norm / (norm + 1e-6))
            flat.gradients.mul_(factor)
            self.optimizer.update(learning_rate, weight_decay)
            flat.sync_model()
            if self.average is not None:
                self.average.lerp_(flat.values, 1.0 - ema_decay)
        return [*ledger, norm]

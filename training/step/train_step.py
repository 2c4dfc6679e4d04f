"""One optimizer step: any split of a global batch into ranks and micro-batches gives the same gradient.

Losses are summed, the weight of their samples is counted in the same reduction, and the division comes after it, before
clipping. The same reduction tells every rank whether one of them ran out of memory or was asked to stop, so neither needs
another collective. Nothing here waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from ..common.errors import TrainingFailed, UserError
from ..common.keyed_dropout import may_draw, number_dropouts
from ..config.plan import Plan
from ..config.recipe import Recipe, Stage
from ..devices.memory import CANNOT_TRY_AGAIN, MemoryReserve, drop_traceback, out_of_memory_message, release_memory
from ..observers.runtime import Runtime
from ..tasks.classes import class_weights, training_labels
from ..tasks.task import Batch, Task
from .compilation import make_forward
from .loss_scale import LossScale
from .optimizer import StepOptimizer
from .parameters import ParameterStore


@dataclass(kw_only=True)
class StepState:
    """What an optimizer step changes."""

    model: nn.Module
    parameters: ParameterStore
    optimizer: StepOptimizer
    loss_scale: LossScale
    average: torch.Tensor | None = None
    """Moving average of `parameters.values`; `None` if the recipe asks for none, and between two stages."""


class StepFlags(NamedTuple):
    """Flags a rank adds to the step's all-reduce; afterwards, whether any rank raised them."""

    stop: bool = False
    """It was asked to stop."""
    save: bool = False
    """It is time to save the run."""
    memory_is_short: bool = False
    """The next pass would hardly fit."""
    memory_is_tight: bool = False
    """A pass of twice the size could not be planned."""


_NO_FLAGS = StepFlags()

LEDGER_SIZE = 3 + len(StepFlags._fields)
"""What the ranks sum beside the gradients: the weight of the samples, the sum of their losses, infinity where a rank ran
out of memory, and for each of the `StepFlags` how many ranks raised it."""


class Failure(NamedTuple):
    """How a rank ran out of memory."""

    micro_batch: int
    """Which of its micro-batches did not fit, from 0."""
    message: str
    """Of the allocator."""


class StepOutcome(NamedTuple):
    """The result of a step, over all ranks; the same on each."""

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


def checked_losses(losses: Any, batch: Batch, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Return the losses of a batch. Raises `UserError` unless there is one for each sample, or for each weight."""
    samples = len(batch.indices)
    if (
        isinstance(losses, torch.Tensor)
        and losses.ndim == 1
        and len(losses) == (samples if weights is None else len(weights))
    ):
        return losses
    found = f"a tensor of {list(losses.shape)}" if isinstance(losses, torch.Tensor) else f"a {type(losses).__name__}"
    raise UserError(
        f"Task.losses: it must return the loss of each sample, [{samples}], got {found}; torch's losses do "
        'with reduction="none"; of several numbers for a sample return their sum, and their count in `weights`'
    )


class PendingStep:
    """A step whose outcome may still be on its way from the device."""

    def __init__(self, facts: torch.Tensor | list[float], failure: Failure | None = None) -> None:
        self.failure = failure
        """How this rank ran out of memory; `None`: it did not."""
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


def _has_own_pass(task: Task) -> bool:
    """Return whether a class of the user's computes outputs or losses: it may draw there, as mixup does."""
    methods = (getattr(type(task), name) for name in ("forward", "losses", "weighted_losses"))
    return any(not (one.__module__ or "").startswith(f"{__package__.split('.')[0]}.") for one in methods)


class TrainStep:
    """Turns the micro-batches of this rank into one optimizer step of all ranks."""

    def __init__(self, state: StepState, task: Task, recipe: Recipe, plan: Plan, runtime: Runtime) -> None:
        self.state, self.task, self.recipe, self.plan = state, task, recipe, plan
        ranks, parameters = runtime.ranks, state.parameters
        self.forward = make_forward(task, plan.compile_backend, runtime.observer, runtime.watchdog.paused)
        """The task's forward pass, compiled if the plan says so."""
        self.reduction = parameters.make_reduction(ranks, plan.bucket_bytes)
        self.is_finite = torch.ones((), dtype=torch.bool, device=parameters.device)
        """Whether the last step updated anything; on the device."""
        self.queues = ranks.device.type != "cpu" if runtime.queues_steps is None else runtime.queues_steps
        """Whether steps are queued: their outcome is known only when the device has computed them. If not, the host updates."""
        self._sections = runtime.sections
        self._device, self._rank = ranks.device, ranks.rank
        self.draws = task.keyed_randomness is False or (
            (task.keyed_randomness is None and _has_own_pass(task))
            or may_draw(state.model, is_keyed=task.keyed_randomness is True)
        )
        """Whether the model draws its own randomness, and is to be made repeatable for this plan."""
        self._dropouts = number_dropouts(state.model)
        self._weight, self._loss_sum, self._out_of_memory, *self._flags = parameters.ledger.unbind()
        self._reserve = MemoryReserve(ranks.device)
        self._spec = recipe.optimizer
        self._class_weights = self._weigh_classes()
        self._autocast = self._make_autocast(recipe.resolved.mixed_precision)
        self._halted = torch.zeros((), dtype=parameters.dtype, device=parameters.device)
        """Infinite from a step that ran out of memory until `resume`: steps queued behind it update nothing."""

    def _make_autocast(self, mixed_precision: str) -> Callable[[], AbstractContextManager[Any]]:
        if mixed_precision == "no":
            return nullcontext
        dtype = torch.bfloat16 if mixed_precision == "bf16" else torch.float16
        return lambda: torch.autocast(self._device.type, dtype=dtype)

    def _weigh_classes(self) -> torch.Tensor | None:
        """Return the weight of each class in the loss, on the device; None where all count alike."""
        if self.recipe.class_weights == "none":
            return None
        labels = training_labels(self.task)
        assert labels is not None, "checked at the start of a run"
        weights = torch.from_numpy(class_weights(self.recipe.class_weights, labels))
        return weights.to(self._device, self.state.parameters.dtype)

    def begin_stage(self, stage: Stage) -> None:
        """Start a stage: with a new optimizer, and start the moving average from the weights as they are."""
        self.state.optimizer.begin_stage(stage)
        if self._spec.ema_decay is not None:
            self.state.average = self.state.parameters.values.clone()

    def resume(self) -> None:
        """Update again, after the outcome of a step that ran out of memory was read."""
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

        The last `num_padding` of the micro-batches have weight 0. With `overlapped` gradients are reduced during the last
        backward pass. `flags` are this rank's. Raises `TrainingFailed` if memory runs out where a rank cannot retry alone.
        """
        num_counted = num_micro_batches - num_padding
        self.state.parameters.zero_gradients()
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
            if not self.state.parameters.can_retry_after_out_of_memory:
                raise TrainingFailed(f"memory ran out on rank {self._rank} ({message}): {CANNOT_TRY_AGAIN}") from None
            drop_traceback(error)
            failure = Failure(done, message)
        if failure is not None:
            del batch  # the inputs of a complete micro-batch
            self._reserve.release()
            release_memory(self._device)
            self._out_of_memory.fill_(math.inf)
        for entry, is_raised in zip(self._flags, flags, strict=True):
            if is_raised:
                entry.fill_(1.0)
        with self._sections.reduce:
            self.reduction.finish(overlapped=overlapped)
        update = self._update if self.queues or self.state.loss_scale.enabled else self._update_on_host
        with self._sections.optimizer:
            facts = update(learning_rate, stage.weight_decay, ema_decay)
        return PendingStep(facts, failure)

    @torch.no_grad()
    def has_finite_losses(self, batch: Batch) -> torch.Tensor:
        """Return whether the loss of each sample is finite, as the model evaluates, bool [samples]; all are as one loss is."""
        model = self.state.model.eval()
        try:
            with self._autocast():
                losses = self.task.losses(self.task.forward(model, batch), batch, None)
        finally:
            model.train()
        is_finite = losses.detach().reshape(-1).isfinite().cpu()
        return is_finite if len(is_finite) == len(batch.indices) else is_finite.all().expand(len(batch.indices))

    def accumulate(self, batch: Batch, stage: Stage, *, overlapped: bool = False, counts: bool = True) -> None:
        """Add a micro-batch's gradients, weight and losses to what is reduced; zeros if it does not count."""
        for dropout in self._dropouts:
            dropout.keys = batch.keys
        with self._sections.forward, self._autocast():
            outputs = self.forward(self.state.model, batch)
            losses, weights = self.task.weighted_losses(outputs, batch, stage)
        losses = checked_losses(losses, batch, weights)
        if self._class_weights is not None:
            if len(losses) != len(batch.indices) or (len(losses) > 1 and losses.stride(0) == 0):
                raise UserError(
                    f"--class-weights {self.recipe.class_weights}: the loss returns one number for several samples, which "
                    "cannot be weighed by their classes; return one for each sample, or leave the option out"
                )
            of_samples = self._class_weights[self.task.batch_labels(batch)]
            losses = losses * of_samples
            weights = of_samples if weights is None else weights * of_samples
        # In the ledger's precision: bfloat16 counts exactly to 256 only.
        loss_sum = losses.sum(dtype=self.state.parameters.dtype)
        if counts:
            self._weight.add_(len(losses) if weights is None else weights.sum())
            self._loss_sum.add_(loss_sum.detach())
        else:
            loss_sum = loss_sum * 0.0
        if overlapped:
            # The reduction needs some memory too, and cannot fail alone: the other ranks would lose the connection.
            self._reserve.release()
            self.reduction.overlap()
        with self._sections.backward:
            self.state.loss_scale.scaled(loss_sum).backward()
        for dropout in self._dropouts:
            dropout.keys = None

    def loss_sum(self) -> float:
        """Return the sum of the losses since gradients were last set to zero; waits for the device."""
        return float(self._loss_sum)

    def _update(self, learning_rate: float, weight_decay: float, ema_decay: float) -> torch.Tensor:
        """Queue the update on the device, which decides whether it is skipped; return the ledger and the norm, there."""
        state, parameters = self.state, self.state.parameters
        weight = self._weight.clamp(min=torch.finfo(parameters.dtype).tiny)
        factor = state.loss_scale.unscale(weight.reciprocal())
        norm = self.reduction.gradient_norm() * factor
        if self._spec.clip_norm is not None:
            # As torch.nn.utils.clip_grad_norm_, in the same pass as the division.
            factor = factor * (self._spec.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        self._halted.add_(self._out_of_memory)
        # An infinite loss times zero is not a number, and stays so in any sum.
        is_finite = self.is_finite = (norm + self._halted + self._loss_sum * 0.0).isfinite() & (self._weight > 0.0)
        parameters.gradients.mul_(factor)
        state.optimizer.update(learning_rate, weight_decay, is_finite)
        parameters.sync_model()
        state.loss_scale.update(is_finite, counts=self._halted.isfinite())
        if state.average is not None:
            state.average.lerp_(parameters.values, (1.0 - ema_decay) * is_finite.to(parameters.dtype))
        return torch.cat([parameters.ledger, norm.view(1)])

    def _update_on_host(self, learning_rate: float, weight_decay: float, ema_decay: float) -> list[float]:
        """Do the same as `_update` where nothing is queued: a number costs a tenth of what a tensor without dimensions does."""
        state, parameters = self.state, self.state.parameters
        ledger: list[float] = parameters.ledger.tolist()
        weight, loss_sum, out_of_memory = ledger[:3]
        factor = 1.0 / weight if weight else 0.0
        norm = float(self.reduction.gradient_norm()) * factor
        is_finite = math.isfinite(norm + out_of_memory + loss_sum * 0.0) and weight > 0.0
        self.is_finite.fill_(is_finite)
        if is_finite:
            if self._spec.clip_norm is not None:
                factor *= min(1.0, self._spec.clip_norm / (norm + 1e-6))
            parameters.gradients.mul_(factor)
            state.optimizer.update(learning_rate, weight_decay)
            parameters.sync_model()
            if state.average is not None:
                state.average.lerp_(parameters.values, 1.0 - ema_decay)
        return [*ledger, norm]

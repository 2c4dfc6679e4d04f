"""Run the steps of an epoch: queue, read the outcome, retry in smaller micro-batches after out-of-memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch

from ..batches.loader import Loader
from ..batches.sampler import EpochSampler, StepWork
from ..common.keyed_random import fold
from ..config.methods import OwnRate
from ..config.recipe import Stage
from ..config.schedule import ema_decay, learning_rate
from ..devices.interruption import Interrupted
from ..devices.memory import MemoryWatch
from ..devices.sharing.choice import Way
from ..observers.events import Decision, StepEnd
from ..observers.runtime import Runtime
from ..step.buffers import BufferGuard
from ..step.train_step import PendingStep, StepFlags, StepOutcome, TrainStep
from ..tasks.samples.random_state import seed_generators
from ..tasks.task import Batch
from .faults import Position
from .limit_control import LimitControl
from .rehearsal import GradientWatch, no_gradient
from .saver import Saver
from .state import TrainingState

_MOST_NAMED = 8
"""Of the samples of a step whose loss is no number."""


class Rewind(Exception):  # noqa: N818 - an order to the trainer, not an error
    """Numbers went bad: go back to a checkpoint and skip these batches."""

    def __init__(self, positions: list[Position]) -> None:
        super().__init__(f"bad numbers at {positions}")
        self.positions = positions


class _QueuedStep(NamedTuple):
    """A step whose outcome was not read yet."""

    work: StepWork
    learning_rate: float
    pending: PendingStep
    buffers: list[torch.Tensor]
    """The model's buffers before it."""
    data_wait_seconds: float


class StepLoop:
    """Runs the steps of an epoch from the cursor on. All decisions follow from facts that every rank knows."""

    def __init__(
        self,
        state: TrainingState,
        step: TrainStep,
        sampler: EpochSampler,
        loader: Loader,
        saver: Saver,
        runtime: Runtime,
        own_rate: OwnRate | None = None,
    ) -> None:
        self._own_rate = own_rate
        """The schedule of the caller or the task; `None`: the named one of each stage."""
        self.step, self.sampler = step, sampler
        self._state, self._loader, self._saver, self._runtime = state, loader, saver, runtime
        self._recipe, self._plan = step.recipe, step.plan
        self._limit_control = LimitControl(state, step.task, runtime)
        self._memory = MemoryWatch(runtime.ranks.device)
        self._buffers = BufferGuard(state.model)
        self._lag = int(step.queues)
        """How many steps stay unread: an accelerator computes one while the outcome of the one before is read."""
        self._is_watched = False
        """Whether it was noted which parameters get a gradient."""
        self._has_skipped = False
        self._stop_agreed = False
        self._save_at: int | None = None
        """The step after which the ranks agreed to save; `None`: they did not."""

    def run_epoch(self, stage: Stage, epoch: int) -> None:
        """Do the steps of an epoch from the cursor on, or as many as the run has left.

        Raises `Rewind` if numbers went bad, `Interrupted` if the ranks agreed to stop, and `UserError` if a single sample
        does not fit in memory.
        """
        self._state.model.train()
        while not self._run_steps(stage, epoch):
            self.step.resume()
        self._advance(self._last_step())

    @property
    def steps_left(self) -> int | None:
        """Steps that `max_steps` leaves; `None`: no such limit."""
        return None if self._recipe.max_steps is None else self._recipe.max_steps - self._state.progress.step

    def _run_steps(self, stage: Stage, epoch: int) -> bool:
        """Return whether the epoch is done; if not, it goes on at the cursor, perhaps with other micro-batches."""
        queued: deque[_QueuedStep] = deque()
        progress, limit = self._state.progress, self._state.limit
        for work, batches in self._loader.steps(self._works(epoch), epoch, stage):
            queued.append(self.queue_step(work, batches, stage))
            if not self._read_outcomes(queued, epoch, self._lag):
                return False
            saves = self._save_at is not None and self._save_at <= progress.step + len(queued)
            if saves or self._stop_agreed or work.micro_batch_size != limit.limit:
                # The weights are then those of the cursor.
                if not self._read_outcomes(queued, epoch, 0):
                    return False
                self._save_or_stop()
                if work.micro_batch_size != limit.limit:
                    return False
        if not self._read_outcomes(queued, epoch, 0):
            return False
        self._save_or_stop()
        return True

    def _save_or_stop(self) -> None:
        """Do what the ranks agreed on, between two steps."""
        runtime = self._runtime
        if self._stop_agreed:
            with runtime.watchdog.paused(), runtime.sections.save:
                self._saver.save(wait=True)
                runtime.ranks.barrier()
            raise Interrupted
        if self._save_at is not None and self._save_at <= self._state.progress.step:
            with runtime.sections.save:
                self._saver.save()
            self._save_at = None

    def _works(self, epoch: int) -> Iterator[StepWork]:
        """Yield the work of each step from the cursor on, without the batches to skip."""
        skipped_batches, last = self._state.progress.skipped_batches, self._last_step()
        for work in self.sampler.epoch(epoch, self._state.progress.step_in_epoch):
            if work.step_in_epoch >= last:
                return
            if not skipped_batches or Position(epoch, work.step_in_epoch) not in skipped_batches:
                yield work

    def _last_step(self) -> int:
        """Return how many steps the present epoch has, trained or skipped: all, or what `max_steps` leaves."""
        progress, most = self._state.progress, self._recipe.max_steps
        before = progress.stage_first_step + self.sampler.num_steps * progress.epoch_in_stage
        return self.sampler.num_steps if most is None else min(self.sampler.num_steps, max(0, most - before))

    def queue_step(self, work: StepWork, batches: Iterator[Batch], stage: Stage) -> _QueuedStep:
        """Queue a step on the device; on a host it is done when this returns."""
        progress, limit, runtime = self._state.progress, self._state.limit, self._runtime
        step_in_stage = self.sampler.num_steps * progress.epoch_in_stage + work.step_in_epoch
        step = progress.stage_first_step + step_in_stage
        if self.step.draws:
            seed_generators(fold(self._recipe.seed, step, runtime.ranks.rank), runtime.ranks.device)
        before = self._buffers.keep()
        rate = self._learning_rate(stage, step_in_stage)
        room = self._memory.look(limit.bytes_per_sample, limit.limit)
        flags = StepFlags(
            stop=runtime.stop.name is not None,
            # After the step that is queued when the ranks have read it.
            save=self._saver.is_due(step + 1 + self._lag),
            memory_is_short=room.is_short,
            memory_is_tight=room.is_tight,
        )
        watch = self._watch_gradients()
        with runtime.cores.step():
            pending = self.step.run(
                runtime.cores.between(batches),
                num_micro_batches=len(work.micro_batches),
                num_padding=work.num_padding,
                stage=stage,
                learning_rate=rate,
                ema_decay=ema_decay(step_in_stage, self._recipe.optimizer.ema_decay or 0.0),
                overlapped=self._plan.reduction == "overlap" and self._limit_control.is_proven(work),
                flags=flags,
            )
        if watch is not None and (names := watch.end(runtime.ranks, failed=pending.failure is not None)):
            runtime.observer.on_decision(no_gradient(names))
        if (way := runtime.cores.take_change()) is not None:
            runtime.observer.on_decision(_describe_waiting(way))
        self._buffers.undo_unless(self.step.is_finite)
        return _QueuedStep(work, rate, pending, before, self._loader.take_waited_seconds())

    def _watch_gradients(self) -> GradientWatch | None:
        """Return what notes the gradients of a run's first step; None after it."""
        parameters = self._state.parameters
        if self._is_watched or self._state.progress.step > 0 or parameters.passes_are_collective:
            return None
        self._is_watched = True
        return GradientWatch(self._state.model, parameters)

    def _learning_rate(self, stage: Stage, step_in_stage: int) -> float:
        """Return the rate of a step; a run that `max_steps` ends early anneals by its end."""
        steps_per_epoch = self.sampler.num_steps
        num_steps = stage.epochs * steps_per_epoch
        if self._recipe.max_steps is not None:
            num_steps = min(num_steps, self._recipe.max_steps - self._state.progress.stage_first_step)
        peak = self._recipe.peak_learning_rate * stage.learning_rate_factor
        if self._own_rate is not None:
            return peak * self._own_rate(step_in_stage, num_steps)
        return learning_rate(
            step_in_stage,
            peak=peak,
            num_steps=num_steps,
            warmup_steps=min(round(stage.warmup_epochs * steps_per_epoch), num_steps // 2),
            schedule=stage.schedule,
            final_fraction=stage.final_fraction,
        )

    def _read_outcomes(self, queued: deque[_QueuedStep], epoch: int, keep: int) -> bool:
        """Read the outcomes of all but the `keep` newest steps; return false if one ran out of memory."""
        while len(queued) > keep:
            step = queued.popleft()
            with self._runtime.sections.device_wait:
                outcome = step.pending.read()
            if outcome.out_of_memory:
                self._buffers.restore(step.buffers)
                self._limit_control.shrink(step.work, step.pending.failure)
                return False
            self._finish(step, outcome, epoch)
        return True

    def _finish(self, step: _QueuedStep, outcome: StepOutcome, epoch: int) -> None:
        """Count a step as done and report it. Raises `Rewind` if its numbers are bad."""
        work, progress, runtime = step.work, self._state.progress, self._runtime
        self._advance(work.step_in_epoch + 1)
        progress.samples_seen += len(work.global_batch)
        self._stop_agreed = self._stop_agreed or outcome.flags.stop
        if outcome.flags.save and self._save_at is None:
            self._save_at = progress.step + self._lag
        runtime.watchdog.beat()
        runtime.observer.on_step(
            StepEnd(
                step=progress.step,
                stage_number=progress.stage,
                epoch=epoch,
                step_in_epoch=work.step_in_epoch,
                learning_rate=step.learning_rate,
                loss=outcome.loss,
                gradient_norm=outcome.gradient_norm,
                samples_per_rank=work.samples_per_rank,
                micro_batches=len(work.micro_batches),
                data_wait_seconds=step.data_wait_seconds,
            )
        )
        position = Position(epoch, work.step_in_epoch)
        # Only the scaled fp16 gradient was too large: the scale is lowered, and it is no fault.
        is_overflow = self._state.loss_scale.enabled and not outcome.is_finite and math.isfinite(outcome.loss)
        if outcome.is_finite:
            progress.weight += outcome.weight
            progress.loss_sum += outcome.loss * outcome.weight
        elif not is_overflow:
            reason = "a loss or gradient that is not finite: the update is skipped on every rank"
            if not self._has_skipped:
                self._has_skipped = True
                reason += self._name_samples(work, epoch)
            fields = {"step": progress.step, **position._asdict()}
            runtime.observer.on_decision(Decision(kind="skipped_update", reason=reason, warning=True, fields=fields))
        self._limit_control.adapt(work, outcome.flags)
        offending = self._state.faults.observe(
            position, outcome.loss, is_finite=outcome.is_finite, is_overflow=is_overflow
        )
        if offending:
            raise Rewind(offending)

    def _name_samples(self, work: StepWork, epoch: int) -> str:
        """Return which samples of a step have a loss that is not finite, each alone. Collective: all ranks agree on them."""
        if self._state.parameters.passes_are_collective:
            return ""
        runtime, stage = self._runtime, self._recipe.stages[self._state.progress.stage]
        is_bad = torch.zeros(len(work.global_batch), device=runtime.ranks.device)
        bad: list[int] = []
        with suppress(Exception):  # what is wrong with it is told where it is trained on
            for drawn in work.micro_batches[: len(work.micro_batches) - work.num_padding]:
                if not self.step.has_finite_losses(self._loader.training_batch(drawn, epoch, stage)).all():
                    alone = (drawn[at : at + 1] for at in range(len(drawn)))
                    batches = (self._loader.training_batch(one, epoch, stage) for one in alone)
                    bad += [int(one.indices[0]) for one in batches if not self.step.has_finite_losses(one).all()]
        is_bad[torch.from_numpy(np.isin(work.global_batch, bad))] = 1.0
        runtime.ranks.sum_(is_bad)
        found = sorted(set(work.global_batch[is_bad.cpu().numpy() > 0].tolist()))
        if not found:
            return "; the loss of each sample alone is finite: look at the learning rate"
        names = ", ".join(map(str, found[:_MOST_NAMED])) + (", ..." if len(found) > _MOST_NAMED else "")
        return f"; the loss of training sample {names} is not finite: repair or leave out what it holds"

    def _advance(self, step_in_epoch: int) -> None:
        """Set the cursor to a step of the present epoch."""
        progress = self._state.progress
        progress.step_in_epoch = step_in_epoch
        progress.step = (
            progress.stage_first_step + self.sampler.num_steps * progress.epoch_in_stage + progress.step_in_epoch
        )


_WAITING: dict[Way, str] = {
    "spinning": "the cores are free again: the threads of an operation wait for each other spinning",
    "asleep": "other programs want the cores too: the threads of an operation wait for each other asleep, not spinning",
    "together": "other programs want the cores too: the threads of an operation take turns on half of the cores",
}


def _describe_waiting(way: Way) -> Decision:
    return Decision(kind="waiting", reason=_WAITING[way], fields={"cores_are_shared": way != "spinning", "way": way})

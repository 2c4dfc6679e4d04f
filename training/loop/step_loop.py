"""The steps of an epoch: computes them, learns what became of each, and does it again where memory ran out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from ..batches.loader import Loader
from ..batches.sampler import EpochSampler, StepWork
from ..common.apportion import apportion
from ..common.errors import UserError
from ..common.keyed_random import fold
from ..config.plan import Plan
from ..config.recipe import Recipe, Stage
from ..config.schedule import ema_decay, learning_rate
from ..devices.interruption import Interrupted, StopRequest
from ..devices.memory import MemoryWatch
from ..devices.ranks import Ranks
from ..devices.watchdog import Watchdog
from ..observers.events import Decision, Observer, StepEnd
from ..observers.profiling.sections import UNMARKED, Sections
from ..step.compilation import make_forward
from ..step.micro_batch.limit import MicroBatchLimit
from ..step.micro_batch.search import SizeSearch
from ..step.parameters import ParameterStore
from ..step.train_step import Failure, PendingStep, StepFlags, StepOutcome, TrainStep
from ..tasks.task import Task
from .faults import FaultDetector, Position
from .progress import Progress
from .saver import Saver


class Rewind(Exception):  # noqa: N818 - an order to the trainer, not an error
    """Numbers went bad: go back to a checkpoint and pass over these batches."""

    def __init__(self, positions: list[Position]) -> None:
        super().__init__(f"bad numbers at {positions}")
        self.positions = positions


class _Issued(NamedTuple):
    """A step that was handed to the device."""

    work: StepWork
    learning_rate: float
    pending: PendingStep
    buffers: list[torch.Tensor]
    """The model's buffers before it."""
    data_wait_seconds: float


class StepLoop:
    """Runs steps from the cursor on. All it decides follows from facts that every rank knows."""

    def __init__(
        self,
        *,
        task: Task,
        model: torch.nn.Module,
        flat: ParameterStore,
        recipe: Recipe,
        plan: Plan,
        ranks: Ranks,
        loader: Loader,
        observer: Observer,
        saver: Saver,
        stop: StopRequest,
        watchdog: Watchdog,
        sections: Sections = UNMARKED,
    ) -> None:
        self.task, self.model, self.recipe, self.plan = task, model, recipe, plan
        self.progress = Progress()
        self.step = TrainStep(
            task=task,
            model=model,
            flat=flat,
            ranks=ranks,
            recipe=recipe,
            forward=make_forward(task, plan.compile_backend, observer, watchdog.paused),
            bucket_bytes=plan.bucket_bytes,
            sections=sections,
        )
        costs = task.costs("train")
        self._costs = np.broadcast_to(1.0, task.num_samples("train")) if costs is None else costs
        self._ranks, self._loader, self._observer = ranks, loader, observer
        self._saver, self._stop, self._watchdog, self._sections = saver, stop, watchdog, sections
        self._stop_agreed = False
        self._save_at: int | None = None
        """The step after which the ranks agreed to save; none: they did not."""
        self._buffers = [buffer for buffer in model.buffers() if buffer.numel()]
        self._buffers_before: list[torch.Tensor] = []
        self._buffer_versions: list[int] = []
        largest = max(apportion(recipe.resolved.global_batch_size, plan.share_weights))
        ceiling = min(largest, plan.micro_batch_size or largest)
        self.sampler = EpochSampler(
            seed=recipe.seed,
            num_samples=task.num_samples("train"),
            costs=costs,
            global_batch_size=recipe.resolved.global_batch_size,
            rank=ranks.rank,
            share_weights=plan.share_weights,
            micro_batch_size=ceiling,
            equal_passes=flat.passes_are_collective,
        )
        self._search = SizeSearch(
            task=task,
            model=model,
            step=self.step,
            loader=loader,
            sampler=self.sampler,
            costs=self._costs,
            ranks=ranks,
            plan=plan,
            recipe=recipe,
        )
        self.limit = MicroBatchLimit(limit=ceiling, ceiling=ceiling, key=self._search.key)
        self.faults = FaultDetector(patience=recipe.bad_steps, spike_score=recipe.loss_spike_score)
        self._memory = MemoryWatch(ranks.device)

    def choose_micro_batch(self, stage: Stage) -> None:
        """Set the first limit: the fastest size that fits, by measuring or as measured here before.

        A run so starts near the best size and not by failing.
        """
        ceiling = self.limit.ceiling
        size, bytes_per_sample, origin = self._search.find(stage)
        self.limit.choose(size, bytes_per_sample)
        limit = self.limit.limit
        if limit < ceiling:
            reason = f"the fastest that fits of {ceiling} samples or less, {origin}: {limit}"
            self._decide("micro_batch", reason, micro_batch_size=limit, bytes_per_sample=bytes_per_sample)

    def run_epoch(self, stage: Stage, epoch: int) -> None:
        """Do the steps of an epoch from the cursor on, or as many as the run has left.

        Raises `Rewind` where numbers went bad, `Interrupted` where the ranks agreed to stop, and `UserError` where a single
        sample does not fit in memory.
        """
        if self.plan.micro_batch_size is None and not self.limit.is_chosen:
            self.choose_micro_batch(stage)
        self.model.train()
        while not self._run_steps(stage, epoch):
            self.step.resume()
        self._advance(self._last_step())

    @property
    def _lag(self) -> int:
        """Return how many steps stay unread: an accelerator computes one while the outcome of the one before is read."""
        return int(self.step.queues)

    @property
    def steps_left(self) -> int | None:
        """Steps that `max_steps` leaves; none: no such limit."""
        return None if self.recipe.max_steps is None else self.recipe.max_steps - self.progress.step

    def _run_steps(self, stage: Stage, epoch: int) -> bool:
        """Return whether the epoch is done; if not, it goes on at the cursor, perhaps with other micro-batches."""
        limit = self.sampler.micro_batch_size = self.limit.limit
        issued: deque[_Issued] = deque()
        for work, batches in self._loader.steps(self._works(epoch), epoch, stage):
            issued.append(self._issue(work, batches, stage))
            if not self._settle(issued, epoch, self._lag):
                return False
            saves = self._save_at is not None and self._save_at <= self.progress.step + len(issued)
            if saves or self._stop_agreed or limit != self.limit.limit:
                # The weights are then those of the cursor.
                if not self._settle(issued, epoch, 0):
                    return False
                self._save_or_stop()
                if limit != self.limit.limit:
                    return False
        if not self._settle(issued, epoch, 0):
            return False
        self._save_or_stop()
        return True

    def _save_or_stop(self) -> None:
        """Do what the ranks agreed on, between two steps."""
        if self._stop_agreed:
            with self._watchdog.paused(), self._sections.save:
                self._saver.save(wait=True)
                self._ranks.barrier()
            raise Interrupted
        if self._save_at is not None and self._save_at <= self.progress.step:
            with self._sections.save:
                self._saver.save()
            self._save_at = None

    def _works(self, epoch: int) -> Iterator[StepWork]:
        skipped_batches, last = self.progress.skipped_batches, self._last_step()
        for work in self.sampler.epoch(epoch, self.progress.step_in_epoch):
            if work.step_in_epoch >= last:
                return
            if not skipped_batches or Position(epoch, work.step_in_epoch) not in skipped_batches:
                yield work

    def _last_step(self) -> int:
        """Return how many steps of the present epoch there are, trained or passed over: all, or what `max_steps` leaves."""
        before = self.progress.stage_first_step + self.sampler.num_steps * self.progress.epoch_in_stage
        most = self.recipe.max_steps
        return self.sampler.num_steps if most is None else min(self.sampler.num_steps, max(0, most - before))

    def _issue(self, work: StepWork, batches: Iterator[Any], stage: Stage) -> _Issued:
        """Hand a step to the device."""
        step_in_stage = self.sampler.num_steps * self.progress.epoch_in_stage + work.step_in_epoch
        step = self.progress.stage_first_step + step_in_stage
        if not self.task.keyed_randomness:
            # The model draws its own randomness: make it repeatable for this plan.
            torch.manual_seed(fold(self.recipe.seed, step, self._ranks.rank) % 2**63)
        self._note_buffers()
        rate = self._learning_rate(stage, step_in_stage)
        room = self._memory.look(self.limit.bytes_per_sample, self.limit.limit)
        flags = StepFlags(
            stop=self._stop.name is not None,
            # After the step that is issued when the ranks have heard it.
            save=self._saver.is_due(step + 1 + self._lag),
            memory_is_short=room.is_short,
            memory_is_tight=room.is_tight,
        )
        pending = self.step.run(
            batches,
            num_micro_batches=len(work.micro_batches),
            num_padding=work.num_padding,
            stage=stage,
            learning_rate=rate,
            ema_decay=ema_decay(step_in_stage, self.recipe.optimizer.ema_decay or 0.0),
            overlapped=self.plan.reduction == "overlap" and self.limit.is_proven(*self._size_and_cost(work)),
            flags=flags,
        )
        self._undo_buffers()
        return _Issued(work, rate, pending, self._buffers_before, self._loader.take_waited_seconds())

    def _learning_rate(self, stage: Stage, step_in_stage: int) -> float:
        """Return the rate of a step; a run cut by `max_steps` anneals by its end."""
        steps_per_epoch = self.sampler.num_steps
        num_steps = stage.epochs * steps_per_epoch
        if self.recipe.max_steps is not None:
            num_steps = min(num_steps, self.recipe.max_steps - self.progress.stage_first_step)
        return learning_rate(
            step_in_stage,
            peak=self.recipe.peak_learning_rate * stage.learning_rate_factor,
            num_steps=num_steps,
            warmup_steps=min(round(stage.warmup_epochs * steps_per_epoch), num_steps // 2),
            schedule=stage.schedule,
            final_fraction=stage.final_fraction,
        )

    def _settle(self, issued: deque[_Issued], epoch: int, keep: int) -> bool:
        """Take in the outcomes of all but the `keep` newest steps; return false where one ran out of memory."""
        while len(issued) > keep:
            step = issued.popleft()
            with self._sections.device_wait:
                outcome = step.pending.read()
            if outcome.out_of_memory:
                self._restore_buffers(step.buffers)
                self._shrink(step.work, step.pending.failure)
                return False
            self._take_in(step, outcome, epoch)
        return True

    def _take_in(self, step: _Issued, outcome: StepOutcome, epoch: int) -> None:
        work = step.work
        self._advance(work.step_in_epoch + 1)
        progress = self.progress
        progress.samples_seen += len(work.global_batch)
        self._stop_agreed = self._stop_agreed or outcome.flags.stop
        if outcome.flags.save and self._save_at is None:
            self._save_at = progress.step + self._lag
        self._watchdog.beat()
        self._observer.on_step(
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
        is_overflow = self._is_overflow(outcome)
        if outcome.is_finite:
            progress.weight += outcome.weight
            progress.loss_sum += outcome.loss * outcome.weight
        elif not is_overflow:
            reason = "a loss or gradient that is not finite: the update is skipped on every rank"
            at = {"step": progress.step, "epoch": epoch, "step_in_epoch": work.step_in_epoch}
            self._decide("skipped_update", reason, warning=True, **at)
        self._adapt_limit(work, outcome.flags)
        position = Position(epoch, work.step_in_epoch)
        offending = self.faults.observe(position, outcome.loss, is_finite=outcome.is_finite, is_overflow=is_overflow)
        if offending:
            raise Rewind(offending)

    def _adapt_limit(self, work: StepWork, flags: StepFlags) -> None:
        """Let the limit grow back after a long quiet time, or halve it before memory runs out."""
        limit = self.limit
        if limit.succeed(*self._size_and_cost(work), has_room=not flags.memory_is_tight):
            reason = f"memory was enough for a long time: micro-batches of up to {limit.limit}"
            self._decide("micro_batch", reason, micro_batch_size=limit.limit)
        if flags.memory_is_short and limit.limit > 1:
            limit.shrink(limit.limit)
            reason = f"little memory is left, another process may use it: micro-batches of at most {limit.limit}"
            self._decide("memory_pressure", reason, warning=True, micro_batch_size=limit.limit)

    def _is_overflow(self, outcome: StepOutcome) -> bool:
        """Return whether only the scaled fp16 gradient was too large: the scale is lowered, and it is no fault."""
        return self.step.loss_scale.enabled and not outcome.is_finite and math.isfinite(outcome.loss)

    def _advance(self, step_in_epoch: int) -> None:
        progress = self.progress
        progress.step_in_epoch = step_in_epoch
        progress.step = (
            progress.stage_first_step + self.sampler.num_steps * progress.epoch_in_stage + progress.step_in_epoch
        )

    def _size_and_cost(self, work: StepWork) -> tuple[int, float]:
        """Return the largest micro-batch of a step over all ranks, and the cost of its longest sample."""
        share = max(work.samples_per_rank)
        parts = -(-share // self.sampler.micro_batch_size)
        return -(-share // parts), float(self._costs[work.global_batch[0]])

    def _shrink(self, work: StepWork, failure: Failure | None) -> None:
        """Halve the micro-batch after some rank ran out of memory, on every rank alike.

        Raises `UserError` on all of them where a single sample was too much.
        """
        size, _ = self._size_and_cost(work)
        ranks = self._ranks
        rank = ranks.minimum(ranks.rank if failure else ranks.size)
        said = ranks.broadcast_text(failure.message if failure else "", source=rank)
        if self.limit.shrink(size):
            where = f" on rank {rank}" if ranks.size > 1 else ""
            self._decide(
                "out_of_memory",
                f"out of memory{where} ({said}): the same batch again in micro-batches of {self.limit.limit}",
                warning=True,
                step=self.progress.step + 1,
                rank=rank,
                micro_batch_size=self.limit.limit,
            )
            return
        error = None
        if failure is not None:
            sample = int(work.micro_batches[failure.micro_batch][0])
            error = UserError(
                f"sample {sample} of the training split (length {self._costs[sample]:g}) does not fit in memory by itself "
                f"on rank {ranks.rank} ({said}): try --gradient-checkpointing, shorter or cropped samples, a smaller model, "
                "or a device with more memory"
            )
        ranks.raise_on_all_ranks(error)

    def _note_buffers(self) -> None:
        """Keep the model's buffers as they are before a step; copied only where something changed them."""
        versions = [buffer._version for buffer in self._buffers]
        if versions != self._buffer_versions:
            self._buffers_before = [buffer.clone() for buffer in self._buffers]
            self._buffer_versions = versions

    def _undo_buffers(self) -> None:
        """Put changed buffers back where the update was skipped: bad numbers get into running statistics too."""
        if [buffer._version for buffer in self._buffers] != self._buffer_versions:
            for buffer, before in zip(self._buffers, self._buffers_before, strict=True):
                buffer.copy_(torch.where(self.step.is_finite, buffer, before))

    def _restore_buffers(self, kept: list[torch.Tensor]) -> None:
        for buffer, before in zip(self._buffers, kept, strict=True):
            if not torch.equal(buffer, before):
                buffer.copy_(before)

    def _decide(self, kind: str, reason: str, *, warning: bool = False, **fields: Any) -> None:
        self._observer.on_decision(Decision(kind=kind, reason=reason, warning=warning, fields=fields))

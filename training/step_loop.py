"""The steps of an epoch: computes them, learns what became of each, and does it again where memory ran out."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from training.collectives import Ranks
from training.errors import UserError
from training.faults import FaultDetector, Position
from training.flat import FlatParameters
from training.interruption import Interrupted, StopRequest
from training.keyed import fold
from training.loader import EpochSampler, Loader, StepWork
from training.memory import MicroBatchLimit, fastest_size, free_bytes, largest_that_fits, synchronise, usable_bytes
from training.observers.events import Decision, Observer, StepEnd
from training.plan import Plan
from training.progress import Progress
from training.recipe import Recipe, Stage
from training.saving import Saver
from training.schedule import ema_decay, learning_rate
from training.share import micro_batches, share_counts
from training.size_cache import SizeCache, key_of
from training.step import PendingStep, StepOutcome, TrainStep
from training.tasks.task import Task
from training.watchdog import Watchdog

_MEMORY_CHECK_SECONDS = 10.0
_MOST_TIMINGS, _TIMING_SECONDS = 3, 0.3
"""Of each micro-batch size, of which the shortest counts; what takes long is timed once."""


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


class StepLoop:
    """Runs steps from the cursor on. All it decides follows from facts that every rank knows."""

    def __init__(
        self,
        *,
        task: Task,
        model: torch.nn.Module,
        flat: FlatParameters,
        recipe: Recipe,
        plan: Plan,
        ranks: Ranks,
        loader: Loader,
        observer: Observer,
        saver: Saver,
        stop: StopRequest,
        watchdog: Watchdog,
    ) -> None:
        self.task, self.model, self.recipe, self.plan = task, model, recipe, plan
        self.progress = Progress()
        self.step = TrainStep(task=task, model=model, flat=flat, ranks=ranks, recipe=recipe)
        costs = task.costs("train")
        self._costs = np.ones(task.num_samples("train")) if costs is None else costs
        self._ranks, self._loader, self._observer = ranks, loader, observer
        self._saver, self._stop, self._watchdog = saver, stop, watchdog
        self._stop_agreed = False
        self._buffers = [buffer for buffer in model.buffers() if buffer.numel()]
        self._buffers_before: list[torch.Tensor] = []
        self._buffer_versions: list[int] = []
        # An accelerator computes a step while the outcome of the one before is read.
        self._lag = 0 if ranks.device.type == "cpu" else 1
        largest = int(share_counts(recipe.resolved.global_batch_size, plan.share_weights).max())
        ceiling = min(largest, plan.micro_batch_size or largest)
        self.limit = MicroBatchLimit(limit=ceiling, ceiling=ceiling)
        self.sampler = EpochSampler(
            seed=recipe.seed,
            num_samples=task.num_samples("train"),
            costs=costs,
            global_batch_size=recipe.resolved.global_batch_size,
            rank=ranks.rank,
            share_weights=plan.share_weights,
            micro_batch_size=ceiling,
        )
        self.faults = FaultDetector(patience=recipe.bad_steps, spike_score=recipe.loss_spike_score)
        self._bytes_per_sample: int | None = None
        self._next_memory_check = 0.0
        self._cache = SizeCache.of_user()

    def choose_micro_batch(self, stage: Stage) -> None:
        """Set the first limit: the fastest size that fits, by measuring or as measured here before.

        A run so starts near the best size and not by failing. The ranks agree on the smallest of theirs.
        """
        started = time.perf_counter()
        known = self._cache.get(self._shape_key()) if self._ranks.is_main else None
        cached = json.loads(self._ranks.agree_on_text(json.dumps(known)))
        if cached is not None and self._still_fits(cached):
            size, self._bytes_per_sample = int(cached["size"]), cached["bytes_per_sample"]
            origin = "as measured here before"
        else:
            size = self._measure_micro_batch(stage)
            origin = f"measured in {time.perf_counter() - started:.2g} s"
            if self._ranks.is_main:
                self._cache.put(self._shape_key(), {"size": size, "bytes_per_sample": self._bytes_per_sample})
        self.limit.limit = min(size, self.limit.ceiling)
        if self.limit.limit < self.limit.ceiling:
            reason = f"the fastest that fits of {self.limit.ceiling} samples or less, {origin}: {self.limit.limit}"
            self._decide(
                "micro_batch", reason, micro_batch_size=self.limit.limit, bytes_per_sample=self._bytes_per_sample
            )

    def _measure_micro_batch(self, stage: Stage) -> int:
        longest = np.argsort(-self._costs, kind="stable")
        ceiling = min(self.limit.ceiling, len(longest))
        typical = self.sampler.global_batch(0, 0)[:: max(1, self._ranks.size)][:ceiling]
        self._note_buffers()
        self.model.train()

        def compute(indices: np.ndarray) -> None:
            self.step.accumulate(self._loader.training_batch(indices, 0, stage), stage)

        def seconds(size: int) -> float:
            taken: list[float] = []
            while len(taken) < _MOST_TIMINGS and sum(taken) < _TIMING_SECONDS:
                synchronise(self._ranks.device)
                before = time.perf_counter()
                for part in micro_batches(len(typical), size):
                    compute(typical[part])
                synchronise(self._ranks.device)
                taken.append(time.perf_counter() - before)
            return min(taken)

        device = self._ranks.device
        fits, self._bytes_per_sample = largest_that_fits(lambda count: compute(longest[:count]), ceiling, device)
        fits = self._ranks.minimum(self.limit.ceiling if fits == ceiling else fits)
        size = self._ranks.minimum(fastest_size(seconds, fits))
        self.step.flat.all_gradients.zero_()
        self._restore_buffers(self._buffers_before)
        return size

    def _still_fits(self, cached: dict[str, Any]) -> bool:
        """Return whether what was measured before fits on every rank now."""
        free, needed = free_bytes(self._ranks.device), cached["bytes_per_sample"]
        fits = free is None or needed is None or usable_bytes(free, self._ranks.device) >= needed * cached["size"]
        return bool(self._ranks.minimum(int(fits)))

    def _shape_key(self) -> str:
        """Return what the best size depends on: model, device, precision, the longest sample to the next power of two."""
        shapes = [(name, list(parameter.shape)) for name, parameter in self.model.named_parameters()]
        return key_of(
            task=self.task.name,
            shapes=shapes,
            device=self.plan.device_name,
            threads=self.plan.threads_per_process,
            processes=self.plan.world_size,
            precision=[self.recipe.precision, self.recipe.resolved.mixed_precision],
            recomputes=self.plan.gradient_checkpointing,
            longest=math.ceil(math.log2(max(1.0, float(self._costs.max())))),
            ceiling=self.limit.ceiling,
        )

    def run_epoch(self, stage: Stage, epoch: int) -> None:
        """Do the steps of an epoch from the cursor on, or as many as the run has left.

        Raises `Rewind` where numbers went bad, `Interrupted` where the ranks agreed to stop, and `UserError` where a single
        sample does not fit in memory.
        """
        self.model.train()
        while not self._run_steps(stage, epoch):
            self.step.resume()
        if self.steps_left != 0:
            self._advance(self.sampler.num_steps)

    @property
    def steps_left(self) -> int | None:
        """Steps that `max_steps` leaves; none: no such limit."""
        return None if self.recipe.max_steps is None else self.recipe.max_steps - self.progress.step

    def _run_steps(self, stage: Stage, epoch: int) -> bool:
        """Return whether the epoch is done; if not, it goes on at the cursor, perhaps with smaller micro-batches."""
        limit = self.sampler.micro_batch_size = self.limit.limit
        issued: deque[_Issued] = deque()
        for work, batches in self._loader.steps(self._works(epoch), epoch, stage):
            issued.append(self._issue(work, batches, stage))
            if not self._settle(issued, epoch, self._lag):
                return False
            is_last = self.steps_left is not None and self.steps_left <= len(issued)
            saves = self._saver.is_due(self.progress.step)
            if saves or is_last or self._stop_agreed or limit != self.limit.limit:
                # The weights are then those of the cursor.
                if not self._settle(issued, epoch, 0):
                    return False
                if saves or self._stop_agreed:
                    self._saver.save(wait=self._stop_agreed)
                if self._stop_agreed:
                    self._ranks.barrier()
                    raise Interrupted
                if is_last or limit != self.limit.limit:
                    return is_last
        return self._settle(issued, epoch, 0)

    def _works(self, epoch: int) -> Iterator[StepWork]:
        passed_over = self.progress.passed_over
        for work in self.sampler.epoch(epoch, self.progress.step_in_epoch):
            if not passed_over or Position(epoch, work.step_in_epoch) not in passed_over:
                yield work

    def _issue(self, work: StepWork, batches: Iterator[Any], stage: Stage) -> _Issued:
        step_in_stage = self.sampler.num_steps * self.progress.epoch_in_stage + work.step_in_epoch
        if not self.task.keyed_randomness:
            # The model draws its own randomness: make it repeatable for this plan.
            step = self.progress.stage_first_step + step_in_stage
            torch.manual_seed(fold(self.recipe.seed, step, self._ranks.rank) % 2**63)
        self._note_buffers()
        rate = self._learning_rate(stage, step_in_stage)
        pending = self.step.run(
            batches,
            num_micro_batches=len(work.micro_batches),
            stage=stage,
            learning_rate=rate,
            ema_decay=ema_decay(step_in_stage, self.recipe.optimizer.ema_decay or 0.0),
            overlapped=self.plan.reduction == "overlap" and self.limit.is_proven(*self._size_and_cost(work)),
            stop=self._stop.name is not None,
            memory_is_short=self._memory_is_short(),
        )
        return _Issued(work, rate, pending, self._buffers_before)

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
            outcome = step.pending.read()
            if outcome.out_of_memory:
                self._restore_buffers(step.buffers)
                self._shrink(step.work)
                return False
            self._take_in(step, outcome, epoch)
        return True

    def _take_in(self, step: _Issued, outcome: StepOutcome, epoch: int) -> None:
        work = step.work
        self._advance(work.step_in_epoch + 1)
        progress = self.progress
        progress.samples_seen += len(work.global_batch)
        self._stop_agreed = self._stop_agreed or outcome.stop_asked
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
            )
        )
        if outcome.is_sound:
            progress.weight += outcome.weight
            progress.loss_sum += outcome.loss * outcome.weight
        elif not self._is_overflow(outcome):
            reason = "a loss or gradient that is not finite: the update is skipped on every rank"
            self._decide("skipped_update", reason, warning=True, step=progress.step, epoch=epoch)
        if self.limit.succeed(*self._size_and_cost(work)):
            reason = f"memory was enough for a long time: micro-batches of up to {self.limit.limit} samples"
            self._decide("micro_batch", reason, micro_batch_size=self.limit.limit)
        if outcome.memory_is_short and self.limit.limit > 1:
            self.limit.shrink(self.limit.limit)
            reason = f"little memory is left, another process may use it: micro-batches of at most {self.limit.limit}"
            self._decide("memory_pressure", reason, warning=True, micro_batch_size=self.limit.limit)
        if not self._is_overflow(outcome):
            position = Position(epoch, work.step_in_epoch)
            offending = self.faults.observe(position, outcome.loss, is_sound=outcome.is_sound)
            if offending:
                raise Rewind(offending)

    def _is_overflow(self, outcome: StepOutcome) -> bool:
        """Return whether only the scaled fp16 gradient was too large: the scale is lowered, and it is no fault."""
        return self.step.loss_scale.enabled and not outcome.is_sound and math.isfinite(outcome.loss)

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

    def _shrink(self, work: StepWork) -> None:
        """Halve the micro-batch after some rank ran out of memory, on every rank alike."""
        size, _ = self._size_and_cost(work)
        failure = self.step.failure
        if self.limit.shrink(size):
            said = f" ({failure.message})" if failure else ""
            reason = f"out of memory{said}: the same batch again in micro-batches of {self.limit.limit}"
            step = self.progress.step + 1
            self._decide("out_of_memory", reason, warning=True, step=step, micro_batch_size=self.limit.limit)
            return
        error = None
        if failure is not None:
            sample = int(work.micro_batches[failure.micro_batch][0])
            error = UserError(
                f"sample {sample} of the training split (length {self._costs[sample]:g}) does not fit in memory by itself "
                f"on rank {self._ranks.rank} ({failure.message}): try --gradient-checkpointing, shorter or cropped samples, "
                "a smaller model, or a device with more memory"
            )
        self._ranks.agree_on_error(error)

    def _memory_is_short(self) -> bool:
        """Return whether the next pass would hardly fit into what is free; looked up every few seconds."""
        now = time.monotonic()
        if self._bytes_per_sample is None or now < self._next_memory_check:
            return False
        self._next_memory_check = now + _MEMORY_CHECK_SECONDS
        free = free_bytes(self._ranks.device)
        return free is not None and free < self._bytes_per_sample * self.limit.limit

    def _note_buffers(self) -> None:
        """Keep the model's buffers as they are before a step; copied only where something changed them."""
        versions = [buffer._version for buffer in self._buffers]
        if versions != self._buffer_versions:
            self._buffers_before = [buffer.clone() for buffer in self._buffers]
            self._buffer_versions = versions

    def _restore_buffers(self, kept: list[torch.Tensor]) -> None:
        for buffer, before in zip(self._buffers, kept, strict=True):
            if not torch.equal(buffer, before):
                buffer.copy_(before)

    def _decide(self, kind: str, reason: str, *, warning: bool = False, **fields: Any) -> None:
        self._observer.on_decision(Decision(kind=kind, reason=reason, warning=warning, fields=fields))

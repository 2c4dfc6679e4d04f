"""Lower the micro-batch limit when memory runs out or gets short, and raise it again after a long quiet time."""

from __future__ import annotations

from typing import Any

from ..batches.sampler import StepWork
from ..common.errors import UserError
from ..devices.memory import leave_onednn
from ..observers.events import Decision
from ..observers.runtime import Runtime
from ..step.train_step import Failure, StepFlags
from ..tasks.task import Task
from .state import TrainingState


class LimitControl:
    """Changes the micro-batch limit by the outcomes of steps, at the same step on every rank."""

    def __init__(self, state: TrainingState, task: Task, runtime: Runtime) -> None:
        self._state, self._runtime = state, runtime
        self._costs, self._num_samples = task.costs("train"), task.num_samples("train")

    def is_proven(self, work: StepWork) -> bool:
        """Return whether micro-batches as large as this step's were seen to fit on every rank."""
        return self._state.limit.is_proven(_largest_micro_batch(work), self._longest_cost(work))

    def adapt(self, work: StepWork, flags: StepFlags) -> None:
        """Note a step that fitted: let the limit grow back after a long quiet time, or halve it before memory runs out."""
        limit = self._state.limit
        if limit.succeed(_largest_micro_batch(work), self._longest_cost(work), has_room=not flags.memory_is_tight):
            reason = f"memory was enough for a long time: micro-batches of up to {limit.limit}"
            self._report("micro_batch", reason, warning=False, micro_batch_size=limit.limit)
        if flags.memory_is_short and limit.limit > 1:
            limit.shrink(limit.limit)
            reason = f"little memory is left, another process may use it: micro-batches of at most {limit.limit}"
            self._report("memory_pressure", reason, micro_batch_size=limit.limit)

    def shrink(self, work: StepWork, failure: Failure | None) -> None:
        """Halve the limit after some rank ran out of memory; `failure` is this rank's. A collective.

        Raises `UserError` on every rank if a single sample was too much.
        """
        limit, ranks = self._state.limit, self._runtime.ranks
        rank = ranks.minimum(ranks.rank if failure else ranks.size)
        message = ranks.broadcast_text(failure.message if failure else "", source=rank)
        if leave_onednn(message):
            reason = (
                f"out of memory on rank {rank} ({message}): the batch again without oneDNN, which gives no memory back"
            )
            self._report("out_of_memory", reason, step=self._state.progress.step + 1, rank=rank)
            return
        if limit.shrink(_largest_micro_batch(work)):
            where = f" on rank {rank}" if ranks.size > 1 else ""
            self._report(
                "out_of_memory",
                f"out of memory{where} ({message}): the same batch again in micro-batches of {limit.limit}",
                step=self._state.progress.step + 1,
                rank=rank,
                micro_batch_size=limit.limit,
            )
            return
        error = None
        if failure is not None:
            sample = int(work.micro_batches[failure.micro_batch][0]) % self._num_samples
            error = UserError(
                f"sample {sample} of the training split (length {self._cost(sample):g}) does not fit in memory by itself "
                f"on rank {ranks.rank} ({message}): try --gradient-checkpointing, shorter or cropped samples, a smaller "
                "model, or a device with more memory"
            )
        ranks.raise_on_all_ranks(error)

    def _longest_cost(self, work: StepWork) -> float:
        return self._cost(work.global_batch[0])

    def _cost(self, sample: int) -> float:
        return 1.0 if self._costs is None else float(self._costs[sample])

    def _report(self, kind: str, reason: str, *, warning: bool = True, **fields: Any) -> None:
        self._runtime.observer.on_decision(Decision(kind=kind, reason=reason, warning=warning, fields=fields))


def _largest_micro_batch(work: StepWork) -> int:
    """Return the most samples of a micro-batch of a step, over all ranks."""
    share = max(work.samples_per_rank)
    passes = -(-share // work.micro_batch_size)
    return -(-share // passes)

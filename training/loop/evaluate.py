"""Evaluate a model: every sample once, whatever the number of processes, results gathered by sample index."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..batches.loader import Loader
from ..batches.share import rank_positions
from ..common.apportion import apportion
from ..common.errors import UserError
from ..common.keyed_random import fold
from ..common.run_names import ANSWERS
from ..devices.memory import (
    CANNOT_TRY_AGAIN,
    drop_traceback,
    free_bytes,
    out_of_memory_message,
    release_memory,
    usable_bytes,
)
from ..observers.events import Decision
from ..observers.runtime import Runtime
from ..step.buffers import model_buffers
from ..step.train_step import TrainStep
from ..storage.files import write_json
from ..tasks.answers import describe_answers
from ..tasks.samples.random_state import kept_generators, seed_generators
from .state import TrainingState

_BATCH_SIZE = 256
"""Samples in one forward pass where the plan gives no micro-batch size and memory allows it."""

_EVALUATION_STREAM = 0xE7A2


class _Measured(NamedTuple):
    """The result of a rank."""

    table: torch.Tensor | None
    """A row for each sample of the split, zero for those of other ranks, and one more; `None` if nothing fitted."""
    failures: int
    """How often memory ran out."""
    error: UserError | None
    """Set if a single sample did not fit."""


class Evaluator:
    """Measures the metrics of the model as it is."""

    def __init__(self, state: TrainingState, step: TrainStep, loader: Loader, runtime: Runtime) -> None:
        self._state, self._step, self._loader, self._runtime = state, step, loader, runtime
        self._task, self._plan = step.task, step.plan
        self._has_warned = False
        self._latest: tuple[str, np.ndarray] | None = None
        self._kept: dict[str, Any] | None = None

    def evaluate(self, split: str) -> dict[str, Any]:
        """Return the task's metrics on a split, the same on every rank; empty if the split is. A collective.

        Each rank fills the rows of its own samples in a table of zeros, and the tables are summed: adding zero is exact, so no
        sample is counted twice and none is padded. A rank that runs out of memory continues with half the batch, from then
        on; the observer is told at the end. Raises `UserError` on every rank if a single sample does not fit, or if memory
        runs out where passes are collective.
        """
        count, ranks = self._num_samples(split), self._runtime.ranks
        if count == 0:
            return {}
        for buffer in model_buffers(self._state.model):
            # Only a model with batch statistics has buffers that differ between ranks: rank 0's are taken.
            if buffer.is_floating_point():
                ranks.broadcast_(buffer)
        if self._state.limit.evaluation is None:
            self._state.limit.evaluation = self._first_batch_size()
        costs = self._task.costs(split)
        indices = np.arange(count) if costs is None else np.argsort(-costs, kind="stable")
        mine = indices[rank_positions(count, ranks.rank, self._plan.share_weights)]
        # A rank without samples measures one for the shape of its row.
        measured = self._measure_in_evaluation_mode(split, mine if len(mine) else indices[:1])
        ranks.raise_on_all_ranks(measured.error)
        table = measured.table
        assert table is not None
        if len(mine) == 0:
            table.zero_()
        table[count, 0] = measured.failures
        rows = ranks.sum_(table).cpu().numpy()
        if failures := int(rows[count, 0]):
            self._report(split, failures)
        self._latest = split, rows[:count]
        found = self._task.metrics(rows[:count], split)
        if split == "validation":
            self._report_no_number(found)
        return found

    def _num_samples(self, split: str) -> int:
        return self._task.num_samples(split) if split != "test" or self._runtime.tests else 0

    def keep_answers(self) -> None:
        """Remember what the latest evaluation answered, of the best weights so far, if no test will do it better."""
        if self._latest is not None and self._num_samples("test") == 0:
            self._keep_latest()

    def write_answers(self, folder: Path | None) -> None:
        """Write what the best weights answered into the folder of a run: on the test split, if there is one.

        A task that cannot tell, or a disk that is full, is a warning: nothing of the result depends on it.
        """
        if folder is None:
            return
        if self._latest is not None and self._latest[0] == "test":
            self._keep_latest()
        if self._kept is not None:
            try:
                write_json(folder / ANSWERS, self._kept)
            except OSError as error:
                self._warn_of_answers(f"{folder / ANSWERS}: {error.strerror}: the report will list no mistakes")

    def _keep_latest(self) -> None:
        assert self._latest is not None
        split, rows = self._latest
        try:
            self._kept = describe_answers(self._task, self._task.answers(rows, split), split)
        except Exception as error:  # methods that a task may override, after the last step
            why = f"{type(error).__name__}: {error}".removesuffix(": ")
            self._warn_of_answers(f"the mistakes of the {split} split are not listed in the report: {why}")

    def _warn_of_answers(self, reason: str) -> None:
        self._runtime.observer.on_decision(Decision(kind="no_answers", reason=reason, warning=True, fields={}))

    def _report_no_number(self, found: Mapping[str, Any]) -> None:
        """Warn once where the metric that chooses the best weights is not finite."""
        name = self._step.recipe.monitor
        if self._has_warned or math.isfinite(found.get(name, 0.0)):
            return
        self._has_warned = True
        reason = (
            f"the validation's {name} is {found[name]:g}: an epoch in which it is not finite counts as the worst, and among "
            "such the lowest loss decides which weights are best; look at the metric, or name another by --monitor"
        )
        self._runtime.observer.on_decision(Decision(kind="no_number", reason=reason, warning=True, fields={}))

    def _first_batch_size(self) -> int:
        """Return the batch size of the first evaluation: what the plan says, or as much as memory should allow."""
        limit, ranks = self._state.limit, self._runtime.ranks
        size = self._plan.micro_batch_size or _BATCH_SIZE
        if limit.limit < limit.ceiling:
            # Training ran out of memory.
            size = min(size, limit.limit)
        elif limit.bytes_per_sample is not None and (free := free_bytes(ranks.device)) is not None:
            # Without gradients a sample needs less than was measured in training.
            usable = usable_bytes(free // ranks.sharing_memory, ranks.device)
            size = min(size, max(limit.limit, usable // limit.bytes_per_sample))
        return ranks.minimum(size) if self._state.parameters.passes_are_collective else size

    def _measure_in_evaluation_mode(self, split: str, samples: np.ndarray) -> _Measured:
        model = self._state.model
        was_training = model.training
        model.eval()
        try:
            with kept_generators() if self._step.draws else nullcontext():
                if (
                    self._step.draws
                ):  # some models draw in evaluation too: each evaluation draws the same, also after a resume
                    key = fold(self._step.recipe.seed, _EVALUATION_STREAM, self._runtime.ranks.rank)
                    seed_generators(key, self._runtime.ranks.device)
                return self._measure(split, self._padded(split, samples))
        finally:
            model.train(was_training)

    def _padded(self, split: str, samples: np.ndarray) -> np.ndarray:
        """Return the samples, with the last repeated if that is needed to do as many passes as the other ranks."""
        if not self._state.parameters.passes_are_collective:
            return samples
        size = self._state.limit.evaluation
        assert size is not None
        largest_share = max(apportion(self._task.num_samples(split), self._plan.share_weights))
        least = (-(-largest_share // size) - 1) * size + 1
        return np.concatenate([samples, np.repeat(samples[-1:], max(0, least - len(samples)))])

    def _measure(self, split: str, samples: np.ndarray) -> _Measured:
        """Measure samples in batches of the present limit, which is halved when memory runs out."""
        ranks, limit = self._runtime.ranks, self._state.limit
        table: torch.Tensor | None = None
        done = failures = 0
        while done < len(samples):
            assert limit.evaluation is not None
            part = samples[done : done + limit.evaluation]
            message = None
            try:
                with torch.no_grad():
                    rows = self._measure_batch(split, part, samples[done + len(part) :])
                    if table is None:
                        shape = (self._task.num_samples(split) + 1, rows.shape[1])
                        table = torch.zeros(shape, dtype=rows.dtype, device=ranks.device)
                    table[torch.from_numpy(part).to(ranks.device)] = rows
            except Exception as caught:
                message = out_of_memory_message(caught)
                if message is None:
                    raise
                drop_traceback(caught)
                if not self._state.parameters.can_retry_after_out_of_memory:
                    where = f"in the evaluation of the {split} split on rank {ranks.rank}"
                    raise UserError(f"memory ran out {where} ({message}): {CANNOT_TRY_AGAIN}") from None
            if message is None:
                done += len(part)
                self._runtime.watchdog.beat()
                continue
            release_memory(ranks.device)
            failures += 1
            if len(part) == 1:
                error = UserError(
                    f"sample {part[0]} of the {split} split does not fit in memory by itself on rank {ranks.rank} "
                    f"({message}): try shorter or cropped samples, a smaller model, or a device with more memory"
                )
                return _Measured(table, failures, error)
            limit.evaluation = len(part) // 2
        return _Measured(table, failures, None)

    def _measure_batch(self, split: str, samples: np.ndarray, rest: np.ndarray) -> torch.Tensor:
        batch = self._loader.evaluation_batch(split, samples, rest)
        with self._runtime.cores.computing():
            return self._task.measure(self._step.forward(self._state.model, batch), batch)

    def _report(self, split: str, failures: int) -> None:
        reason = f"out of memory {failures} times in the evaluation of the {split} split: the same samples in smaller batches"
        fields = {"split": split, "failures": failures, "evaluation_batch_size": self._state.limit.evaluation}
        self._runtime.observer.on_decision(Decision(kind="out_of_memory", reason=reason, warning=True, fields=fields))

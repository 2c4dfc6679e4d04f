"""The batches of a run: made by `BatchMaker`, ahead of the training thread by `Prefetcher`; `WaitClock` times the waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing

import numpy as np
import torch

from ..config.recipe import Stage
from ..observers.events import Observer
from ..observers.profiling.sections import UNMARKED, Sections
from ..tasks.task import Batch, Task
from .batch_maker import BatchMaker
from .prefetcher import Prefetcher
from .sampler import StepWork
from .wait_clock import WaitClock
from .workers import WorkerCount

_SILENT = Observer()


class Loader:
    """Loads the batches of a task on a device, in as many threads as help."""

    def __init__(
        self,
        task: Task,
        *,
        seed: int,
        dtype: torch.dtype,
        device: torch.device,
        channels_last: bool = False,
        num_workers: int = 0,
        most_workers: int | None = None,
        observer: Observer = _SILENT,
        sections: Sections = UNMARKED,
    ) -> None:
        self._maker = BatchMaker(task, seed=seed, dtype=dtype, device=device, channels_last=channels_last)
        self._clock = WaitClock(sections.data_wait)
        self._workers = WorkerCount(num_workers, most_workers, observer.on_decision)
        self._prefetcher = Prefetcher(self._maker, self._clock)
        self._task, self._most_workers = task, max(num_workers, most_workers or 0)
        self.is_repeatable = True
        """Whether the task made the same training batch when it was asked for it again."""
        self._has_started = False

    def _start_threads(self) -> None:
        self._has_started = True
        self._prefetcher.start_threads(self._task.start_workers(self._workers.count, self._most_workers))

    def try_out(self, stage: Stage) -> None:
        """See what the samples draw from, before any is trained on: generators that threads would share are used by none."""
        self.is_repeatable = self._maker.try_out(stage)
        if self.draws:
            self._workers.stay(0)

    @property
    def draws(self) -> bool:
        """Whether the task draws training samples from the generators of the process."""
        return self._maker.draws

    def close(self) -> None:
        """Stop the threads; what they have not begun is dropped."""
        self._prefetcher.close()
        self._task.stop_workers()

    def take_waited_seconds(self) -> float:
        """Return how long the training thread has waited for batches, or made them, since the last call."""
        return self._clock.take_seconds()

    def training_batch(self, indices: np.ndarray, epoch: int, stage: Stage) -> Batch:
        """Return samples of the training split as they are trained on in an epoch, on the device."""
        (batch,) = self._maker.make_training([indices], epoch, stage)
        return self._maker.move(batch)

    def evaluation_batch(self, split: str, indices: np.ndarray, rest: np.ndarray | None = None) -> Batch:
        """Return samples as they are evaluated, on the device; with workers, batches of the `rest` are prepared meanwhile."""
        return self._prefetcher.evaluation_batch(split, indices, indices[:0] if rest is None else rest)

    def steps(self, works: Iterable[StepWork], epoch: int, stage: Stage) -> Iterator[tuple[StepWork, Iterator[Batch]]]:
        """Yield each step's work with an iterator over its batches; with workers, the next steps are prepared meanwhile."""
        if not self._has_started:
            self._start_threads()
        self._clock.lap()
        with closing(self._prefetcher.steps(works, epoch, stage)) as steps:
            for step in steps:
                yield step
                if not self._workers.is_settled and self._workers.note(*self._clock.lap()):
                    self._start_threads()

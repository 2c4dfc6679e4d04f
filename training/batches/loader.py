"""From sample indices to batches on the device: one vectorised call for each micro-batch, some of them ahead in threads."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch

from ..common.keyed_random import sample_keys
from ..config.recipe import Stage
from ..observers.events import Observer
from ..observers.profiling.sections import UNMARKED, Sections
from ..tasks.task import Batch, Task
from .sampler import StepWork
from .workers import WorkerCount

_SILENT = Observer()

_BYTES_TOGETHER = 1 << 20
"""Samples of several steps are prepared in one go until they are as large as this: what a core's cache holds."""

_STEPS_TOGETHER = 8

_Group = list[np.ndarray] | Future[list[Batch]]
"""Micro-batches that are prepared in one go, or are being."""

_Prepare = Callable[[list[np.ndarray]], list[Batch]]


class Loader:
    """Fetches, augments and moves the batches of a task."""

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
        self._task = task
        self._seed = seed
        self._dtype = dtype
        self._device = device
        self._channels_last = channels_last
        self._pins = device.type in ("cuda", "xpu")
        self._sections = sections
        self._workers = WorkerCount(num_workers, most_workers, observer.on_decision)
        self._waited_seconds = self._taken_seconds = self._noted_seconds = self._noted_at = 0.0
        self._seconds_of_next = 0.0
        """Of waiting for each of the steps that were prepared together with the present one."""
        self._pool: ThreadPoolExecutor | None = None
        self._lookahead = 0
        """Steps, or what is prepared together of them, that are prepared ahead of the one that is computed."""
        self._bytes_per_sample = math.inf
        self._start_workers()

    def _start_workers(self) -> None:
        """Start as many threads as there are to be; those before end once they have done what was handed to them."""
        self.close(wait=False)
        count = self._workers.count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="loader") if count else None
        self._lookahead = count + 1 if count else 0

    def close(self, *, wait: bool = True) -> None:
        """Stop the threads; with `wait` at once, what they have not begun is dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=wait, cancel_futures=wait)

    def take_waited_seconds(self) -> float:
        """Return how long the training thread has waited for batches, or made them, since it was last asked."""
        waited = self._waited_seconds - self._taken_seconds
        self._taken_seconds = self._waited_seconds
        return waited

    def training_batch(self, indices: np.ndarray, epoch: int, stage: Stage) -> Batch:
        """Return samples of the training split as they are trained on in an epoch, on the device."""
        (batch,) = self._training_batches([indices], epoch, stage)
        return self._on_device(batch)

    def evaluation_batch(self, split: str, indices: np.ndarray) -> Batch:
        """Return samples as they are evaluated, on the device."""
        chosen = torch.from_numpy(indices)
        return self._on_device(self._finish(Batch(chosen, None, self._task.fetch(split, chosen))))

    def steps(self, works: Iterable[StepWork], epoch: int, stage: Stage) -> Iterator[tuple[StepWork, Iterator[Batch]]]:
        """Yield each step's work with an iterator over its batches; with workers, the next steps are prepared meanwhile."""

        def prepare(parts: list[np.ndarray]) -> list[Batch]:
            return self._training_batches(parts, epoch, stage)

        ahead: deque[tuple[list[StepWork], list[_Group]]] = deque()
        self._noted_at, self._noted_seconds = time.perf_counter(), self._waited_seconds
        try:
            for together in self._together(works):
                ahead.append((together, self._submit(prepare, together)))
                while len(ahead) > self._lookahead:
                    yield from self._ready(prepare, *ahead.popleft())
            while ahead:
                yield from self._ready(prepare, *ahead.popleft())
        finally:
            # Where the steps are cut anew nobody waits for these.
            for _, groups in ahead:
                for group in groups:
                    if isinstance(group, Future):
                        group.cancel()

    def _together(self, works: Iterable[StepWork]) -> Iterator[list[StepWork]]:
        """Yield the works, those together whose samples are prepared in one go.

        A call on the samples of many steps costs little more than one on those of a single small step.
        """
        together: list[StepWork] = []
        num_samples = 0
        for work in self._drawn(works):
            together.append(work)
            num_samples += sum(map(len, work.micro_batches))
            is_much = num_samples * self._bytes_per_sample >= _BYTES_TOGETHER
            if is_much or len(together) == _STEPS_TOGETHER or not self._task.can_split_batches:
                yield together
                together, num_samples = [], 0
        if together:
            yield together

    def _submit(self, prepare: _Prepare, works: list[StepWork]) -> list[_Group]:
        parts = [part for work in works for part in work.micro_batches]
        groups = [parts] if parts and len(works) > 1 else [[part] for part in parts]
        return [*groups] if self._pool is None else [self._pool.submit(prepare, group) for group in groups]

    def _ready(
        self, prepare: _Prepare, works: list[StepWork], groups: list[_Group]
    ) -> Iterator[tuple[StepWork, Iterator[Batch]]]:
        batches, self._seconds_of_next = self._batches(prepare, groups, len(works)), 0.0
        for number, work in enumerate(works):
            if number > 0:
                self._waited_seconds += self._seconds_of_next
            of_step = islice(batches, len(work.micro_batches))
            yield work, of_step
            self._note_step()
            if work is not works[-1]:
                deque(of_step, maxlen=0)  # left where memory ran out: the next step's come after them

    def _batches(self, prepare: _Prepare, groups: list[_Group], num_steps: int) -> Iterator[Batch]:
        """Yield the batches of a step, or of `num_steps` that are prepared together; what that takes is shared out evenly."""
        clock = time.perf_counter
        for group in groups:
            started = clock()
            with self._sections.data_wait:
                made = (group.result() if isinstance(group, Future) else prepare(group))[::-1]
                self._bytes_per_sample = _bytes_per_sample(made)
            self._seconds_of_next = (clock() - started) / num_steps
            self._waited_seconds += self._seconds_of_next
            while made:
                started = clock()
                with self._sections.data_wait:
                    on_device = [self._on_device(made.pop())]
                self._waited_seconds += clock() - started
                # Handed over, not kept: the step frees a batch when memory is short.
                yield on_device.pop()

    def _drawn(self, works: Iterable[StepWork]) -> Iterator[StepWork]:
        """Yield the works: to draw the samples of a step is a part of waiting for them."""
        iterator, clock = iter(works), time.perf_counter
        while True:
            started = clock()
            with self._sections.data_wait:
                work = next(iterator, None)
            self._waited_seconds += clock() - started
            if work is None:
                return
            yield work

    def _note_step(self) -> None:
        """Tell how long the last step took and how much of it was waiting, as long as that may change something."""
        if self._workers.is_settled:
            return
        now = time.perf_counter()
        if self._workers.note(now - self._noted_at, self._waited_seconds - self._noted_seconds):
            self._start_workers()
        self._noted_at, self._noted_seconds = now, self._waited_seconds

    def _training_batches(self, parts: list[np.ndarray], epoch: int, stage: Stage) -> list[Batch]:
        """Return a batch for each part, fetched and augmented in one go; several only where the task can cut them."""
        indices = parts[0] if len(parts) == 1 else np.concatenate(parts)
        chosen = torch.from_numpy(indices)
        keys = sample_keys(self._seed, epoch, indices)
        tensors = self._task.augment(self._task.fetch("train", chosen), keys, stage)
        if len(parts) == 1:
            return [self._finish(Batch(chosen, keys, tensors))]
        sizes = [len(part) for part in parts]
        cut = zip(chosen.split(sizes), keys.split(sizes), self._task.split_batch(tensors, sizes), strict=True)
        return [self._finish(Batch(*of_part)) for of_part in cut]

    def _finish(self, batch: Batch) -> Batch:
        for name, tensor in batch.tensors.items():
            if tensor.is_floating_point() and tensor.dtype != self._dtype:
                batch.tensors[name] = tensor.to(self._dtype)
        return batch.pin() if self._pins else batch

    def _on_device(self, batch: Batch) -> Batch:
        batch = batch if self._device.type == "cpu" else batch.to(self._device)
        return batch.channels_last() if self._channels_last else batch


def _bytes_per_sample(batches: list[Batch]) -> float:
    num_bytes = sum(tensor.nbytes for batch in batches for tensor in batch.tensors.values())
    return num_bytes / sum(len(batch.indices) for batch in batches)

"""The batches of the next steps, made ahead in threads; those of several small steps are made in one call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from itertools import starmap

import numpy as np

from ..common.program.threads import HelperThreads
from ..config.recipe import Stage
from ..tasks.task import Batch
from .batch_maker import BatchMaker
from .sampler import StepWork
from .wait_clock import WaitClock

_BYTES_TOGETHER = 1 << 20
"""The samples of several steps are made in one call until they are as large as this: what a core's cache holds."""

_STEPS_TOGETHER = 8


class _Call:
    """Batches that are made in one call: by a thread or, without threads, when the first of them is wanted."""

    def __init__(self, make: Callable[[], list[Batch]], pool: HelperThreads | None) -> None:
        self._make = make
        self._future: Future[list[Batch]] | None = None if pool is None else pool.submit(make)
        self.is_done = False
        self.batches: dict[int, Batch] = {}
        """By their number, once the call is done; whoever takes one takes it out, so that its memory can be freed."""

    def wait(self) -> float:
        """Wait for the batches, or make them; return the bytes of a sample."""
        made = self._make() if self._future is None else self._future.result()
        # The future would keep every batch.
        self.is_done, self._future, self.batches = True, None, dict(enumerate(made))
        num_bytes = sum(tensor.nbytes for batch in made for tensor in batch.tensors.values())
        return num_bytes / sum(len(batch.indices) for batch in made)

    def cancel(self) -> None:
        """Do not begin the call, if no thread has begun it."""
        if self._future is not None:
            self._future.cancel()


_Step = tuple[StepWork, list[tuple[_Call, int]]]
"""A step, and for each of its micro-batches the call that makes it and its number there."""


class Prefetcher:
    """Makes the batches of steps in order, and with threads those of the next steps meanwhile."""

    def __init__(self, maker: BatchMaker, clock: WaitClock) -> None:
        self._maker = maker
        self._clock = clock
        self._pool: HelperThreads | None = None
        self._lookahead = 0
        """Groups of steps, those of one call, that are made ahead of the one that is computed."""
        self._evaluated_next: dict[tuple[str, bytes], Future[Batch]] = {}
        """Batches to evaluate that are made ahead, by the split and the indices."""
        self._bytes_per_sample: float = _BYTES_TOGETHER
        """Not known before the first call: as large as can be."""

    def start_threads(self, count: int) -> None:
        """Have `count` threads from now on; those before end once they have done what was handed to them."""
        self.close(wait=False)
        self._pool = HelperThreads(count, thread_name_prefix="loader") if count else None
        self._lookahead = count + 1 if count else 0

    def close(self, *, wait: bool = True) -> None:
        """Stop the threads; with `wait` at once, and what they have not begun is dropped."""
        self._evaluated_next = {}
        if self._pool is not None:
            self._pool.shutdown(wait=wait, cancel_futures=wait)

    def evaluation_batch(self, split: str, indices: np.ndarray, rest: np.ndarray) -> Batch:
        """Return a batch on the device; with threads the next ones, as large and of the rest, are made meanwhile."""
        pool, size = self._pool, len(indices)
        if pool is None or not self._maker.can_evaluate_ahead(split):
            return self._maker.move(self._maker.make_evaluation(split, indices))
        before, self._evaluated_next = self._evaluated_next, {}
        ahead = [rest[first : first + size] for first in range(0, min(len(rest), self._lookahead * size), size)]
        for part in [indices, *ahead]:
            key = split, part.tobytes()
            self._evaluated_next[key] = (
                before.pop(key) if key in before else pool.submit(self._maker.make_evaluation, split, part)
            )
        # Where batches get another size nobody waits for these.
        for future in before.values():
            future.cancel()
        return self._maker.move(self._evaluated_next.pop((split, indices.tobytes())).result())

    def steps(
        self, works: Iterable[StepWork], epoch: int, stage: Stage
    ) -> Generator[tuple[StepWork, Iterator[Batch]], None, None]:
        """Yield each step's work with an iterator over its batches, on the device. It waits where a batch is taken."""
        remaining = iter(works)
        ahead: deque[list[_Step]] = deque()
        try:
            while True:
                while len(ahead) <= self._lookahead and (group := self._draw(remaining)):
                    ahead.append(self._start(group, epoch, stage))
                if not ahead:
                    return
                for work, parts in ahead.popleft():
                    yield work, starmap(self._take, parts)
        finally:
            # Where micro-batches get another size nobody waits for these.
            for call in {call for group in ahead for _, parts in group for call, _ in parts}:
                call.cancel()

    def _draw(self, works: Iterator[StepWork]) -> list[StepWork]:
        """Return the next steps, those whose batches are made in one call; at the end of the epoch an empty list.

        A call for the samples of many steps costs little more than one for those of a single small step.
        """
        most = _STEPS_TOGETHER if self._maker.can_split_batches else 1
        group: list[StepWork] = []
        num_samples = 0
        while len(group) < most and num_samples * self._bytes_per_sample < _BYTES_TOGETHER:
            with self._clock:
                work = next(works, None)
            if work is None:
                break
            group.append(work)
            num_samples += sum(map(len, work.micro_batches))
        return group

    def _start(self, works: list[StepWork], epoch: int, stage: Stage) -> list[_Step]:
        """Start the calls for a group: one for each micro-batch of a single step, or one for all of several steps."""
        indices = [part for work in works for part in work.micro_batches]
        groups = [[part] for part in indices] if len(works) == 1 else [indices] if indices else []
        parts: list[tuple[_Call, int]] = []
        for group in groups:
            call = _Call(partial(self._maker.make_training, group, epoch, stage), self._pool)
            parts += [(call, number) for number in range(len(group))]
        in_turn = iter(parts)
        return [(work, [next(in_turn) for _ in work.micro_batches]) for work in works]

    def _take(self, call: _Call, number: int) -> Batch:
        """Return a batch on the device, and keep nothing of it: the step frees it when memory is short."""
        with self._clock:
            if not call.is_done:
                self._bytes_per_sample = call.wait()
            return self._maker.move(call.batches.pop(number))

"""Search for the first micro-batch size: the fastest that fits, measured by passes over real samples, or cached."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from ...batches.loader import Loader
from ...batches.sampler import EpochSampler
from ...batches.share import micro_batches
from ...common.errors import TrainingFailed
from ...config.plan import Plan
from ...config.recipe import Recipe, Stage
from ...devices.memory import (
    CANNOT_TRY_AGAIN,
    drop_traceback,
    free_bytes,
    is_out_of_memory,
    release_memory,
    synchronise,
    usable_bytes,
)
from ...devices.ranks import Ranks
from ...tasks.task import Batch, Task
from ..buffers import restored_buffers
from ..compilation import uncompiled
from ..train_step import TrainStep
from .cache import SizeCache, key_of
from .fastest import fastest_size
from .pass_memory import bytes_of_pass

_SEARCH_SECONDS, _NUM_PASSES, _MOST_SECONDS = 1.5, 10, 8.0
"""The budget for comparing sizes: the first, or the time of so many passes if that is longer, but at most the third."""

_PASS_SECONDS = 2.0
"""A timing takes about this long at most: of a share that takes longer, fewer samples with the same mix of lengths."""

_NUM_BATCHES = 8
"""Global batches from which a typical share is drawn."""

_Work = TypeVar("_Work")

_METHOD = 2
"""Version of the method: sizes that another version found are measured again."""


def training_costs(task: Task) -> np.ndarray:
    """Return the cost of each training sample, 1 for each if the task does not tell them apart."""
    costs = task.costs("train")
    return np.broadcast_to(1.0, task.num_samples("train")) if costs is None else costs


def size_key(task: Task, model: nn.Module, recipe: Recipe, plan: Plan, largest_share: int) -> str:
    """Return a hash of everything on which the best size depends, except free memory."""
    costs = training_costs(task)
    longest = int(np.argmax(costs))
    return key_of(
        method=_METHOD,
        task=task.name,
        model=repr(model),
        shapes=[[name, list(parameter.shape)] for name, parameter in model.named_parameters()],
        sample=_shapes_of(task.fetch("train", torch.tensor([longest])), math.ceil(costs[longest])),
        device=plan.device_name,
        threads=plan.threads_per_process,
        processes=plan.world_size,
        precision=[recipe.precision, recipe.resolved.mixed_precision],
        recomputes=plan.gradient_checkpointing,
        memory_format=plan.memory_format,
        largest_share=largest_share,
        asked=plan.micro_batch_size,
        torch=torch.__version__,
    )


class SizeSearch:
    """Finds the size for a model, a device and a share of at most `largest_share` samples; the same on all ranks."""

    def __init__(
        self, key: str, step: TrainStep, loader: Loader, sampler: EpochSampler, ranks: Ranks, *, largest_share: int
    ) -> None:
        self.key = key
        """As returned by `size_key`."""
        self._step, self._loader, self._sampler, self._ranks = step, loader, sampler, ranks
        self._model, self._stages = step.state.model, step.recipe.stages
        self._prepares_ahead = step.plan.num_workers > 0
        self._largest_share = largest_share
        self._costs = training_costs(step.task)
        self._longest = np.argsort(-self._costs, kind="stable")
        self._cache = SizeCache.of_user()

    def find(self, stage: Stage) -> tuple[int, int | None, str]:
        """Return size, bytes that one of the longest samples needs or `None`, and the size's origin in words."""
        started = time.perf_counter()
        known = self._cache.get(self.key) if self._ranks.is_main else None
        cached = json.loads(self._ranks.broadcast_text(json.dumps(known)))
        if cached is not None and self._holds(cached):
            return cached["size"], cached["bytes_per_sample"], "as measured here before"
        with uncompiled(self._step.forward):  # a compilation takes longer than all of this
            size, needed, is_limited = self._measure(stage)
        if self._ranks.is_main:
            self._cache.put(self.key, {"size": size, "bytes_per_sample": needed, "is_limited": is_limited})
        return size, needed, f"measured in {time.perf_counter() - started:.2g} s"

    def _holds(self, cached: Mapping[str, Any]) -> bool:
        """Return whether a cached size fits on every rank now, and is not smaller than memory allows now."""
        free, needed = free_bytes(self._ranks.device), cached["bytes_per_sample"]
        holds = True
        if free is not None and needed is not None:
            fits = usable_bytes(free // self._ranks.sharing_memory, self._ranks.device) // needed
            holds = fits >= cached["size"] and not (cached["is_limited"] and fits >= 2 * cached["size"])
        return bool(self._ranks.minimum(int(holds)))

    def _measure(self, stage: Stage) -> tuple[int, int | None, bool]:
        """Return size, bytes that a sample needs or `None`, and whether memory limits the size."""
        ranks, device = self._ranks, self._ranks.device
        if stage in self._stages:
            stage = _longest_stage(self._stages[self._stages.index(stage) :])
        self._model.train()
        with restored_buffers(self._model):
            largest = min(self._largest_share, len(self._longest))
            fits, needed = largest_that_fits(
                lambda count: self._step.accumulate(
                    self._loader.training_batch(self._longest[:count], 0, stage), stage
                ),
                largest,
                device,
                processes_sharing_memory=self._ranks.sharing_memory,
                persistent_storages=self._step.state.parameters.persistent_storages(self._model),
                min_over_ranks=ranks.minimum if self._step.state.parameters.passes_are_collective else None,
            )
            fits = ranks.minimum(fits if fits < largest else self._largest_share)
            needed = -ranks.minimum(-(needed or 0)) or None
            # A split batch would have other batch statistics; where passes are collective, ranks that time sizes by their own
            # clocks would do different passes.
            is_largest = has_batch_statistics(self._model) or self._step.state.parameters.passes_are_collective
            size = fits if is_largest else self._fastest(stage, fits)
        release_memory(device)
        return size, needed, fits < self._largest_share

    def _fastest(self, stage: Stage, largest: int) -> int:
        """Return the size, at most `largest`, at which a typical share takes the least time; the ranks agree on it."""
        ranks, pool = self._ranks, self._pool()
        share = min(self._largest_share, len(pool))
        # As many samples as time allows; the first pass is slow and not counted.
        count = min(4, share)
        self._seconds(_spaced(pool, count), largest, stage)
        while (taken := self._seconds(_spaced(pool, count), largest, stage)) < _PASS_SECONDS / 2 and count < share:
            count = min(share, max(2 * count, int(count * _PASS_SECONDS / max(taken, 1e-6))))
        count = ranks.minimum(count)
        samples = _spaced(pool, count)

        def average(values: list[float]) -> list[float]:
            total = ranks.sum_(torch.tensor(values, device=ranks.device))
            return (total / ranks.size).tolist()

        size = fastest_size(
            lambda size: self._seconds(samples, size, stage),
            min(largest, count),
            budget_seconds=min(_MOST_SECONDS, max(_SEARCH_SECONDS, _NUM_PASSES * taken)),
            average=average,
        )
        # If the largest size that was timed is the fastest, a larger one is at least as fast.
        return largest if size == min(largest, count) else size

    def _pool(self) -> np.ndarray:
        """Return the samples of some global batches, longest first: evenly spaced ones have the lengths of a typical batch."""
        steps = range(min(_NUM_BATCHES, self._sampler.num_steps))
        pool = np.concatenate([self._sampler.global_batch(0, step) for step in steps])
        return pool[np.argsort(-self._costs[pool], kind="stable")]

    def _seconds(self, samples: np.ndarray, size: int, stage: Stage) -> float:
        """Return the time of samples in micro-batches of at most `size`, as in a step; infinity if memory runs out.

        The parts of a step that do not depend on the size, such as the update, are not timed.
        """
        device = self._ranks.device
        # The CPU time of a thread is not disturbed by other processes. With several threads it would miss the time in which
        # one waits for another, which is most of what makes small passes slow.
        clock = time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
        parts = [samples[part] for part in micro_batches(len(samples), size)]
        batches: Iterable[Batch] = (self._loader.training_batch(part, 0, stage) for part in parts)
        if self._prepares_ahead:
            ahead: list[Batch] = []
            if not _fits(ahead.extend, batches, device):
                return math.inf
            batches = ahead

        def compute(batches: Iterable[Batch]) -> None:
            for batch in batches:
                self._step.accumulate(batch, stage)

        synchronise(device)
        before = clock()
        if not _fits(compute, batches, device):
            return math.inf
        synchronise(device)
        return clock() - before


def _longest_stage(stages: Sequence[Stage]) -> Stage:
    """Return the stage with the most epochs: the time to prepare a batch differs between stages."""
    return max(stages, key=lambda stage: stage.epochs)


def _shapes_of(sample: Mapping[str, torch.Tensor], longest: int) -> dict[str, list[Any]]:
    """Return dtype and shape of a sample's tensors; its length is rounded up to a power of two, so that similar data match."""
    bucket = 1 << max(0, longest - 1).bit_length()
    return {
        name: [str(tensor.dtype), [bucket if size == longest else size for size in tensor.shape[1:]]]
        for name, tensor in sample.items()
    }


def has_batch_statistics(model: nn.Module) -> bool:
    """Return whether a model normalises over its batch."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def largest_that_fits(
    compute: Callable[[int], None],
    largest: int,
    device: torch.device,
    *,
    processes_sharing_memory: int = 1,
    persistent_storages: Collection[int] = (),
    min_over_ranks: Callable[[int], int] | None = None,
) -> tuple[int, int | None]:
    """Return the largest micro-batch that is expected to fit, and the bytes that a sample needs or `None`.

    `compute(n)` does a forward and a backward pass of the n longest samples. n doubles only while the measurements say that
    twice as many fit, so that nothing fails; and it stops as soon as `largest` clearly fits. The memory is divided by
    `processes_sharing_memory`. `persistent_storages` are the addresses of storages that a pass does not allocate, such as the
    parameters'. With `min_over_ranks`, which returns the least of the ranks' numbers, all ranks do the same passes, as
    collective passes need it; then memory that runs out raises `TrainingFailed`.
    """

    def fits_here(compute: Callable[[int], None], count: int) -> bool:
        if _fits(compute, count, device):
            return True
        if min_over_ranks is not None:
            raise TrainingFailed(f"memory ran out in the search for the micro-batch size: {CANNOT_TRY_AGAIN}")
        return False

    # Not one: a model with batch statistics cannot compute them from a single sample.
    size, bytes_per_sample = min(2, largest), None
    if not fits_here(compute, size):  # what is allocated once, such as workspaces, is allocated here
        return 1, None
    while True:
        used: int | None = None

        def measure(count: int) -> None:
            nonlocal used
            used = bytes_of_pass(compute, count, device, persistent_storages)

        if not fits_here(measure, size):
            return max(1, size // 2), bytes_per_sample
        available = free_bytes(device)
        if used is None or available is None:
            # Nothing can be measured here: try the sizes themselves.
            fits = largest if device.type == "cpu" else 2 * size
        else:
            bytes_per_sample = max(1, -(-used // size))
            fits = usable_bytes(available // processes_sharing_memory, device) // bytes_per_sample
        if min_over_ranks is not None:
            fits = min_over_ranks(fits)
        if fits >= 2 * largest or size >= largest:
            return min(largest, max(fits, size)), bytes_per_sample
        if fits < 2 * size:
            return max(size, min(fits, largest)), bytes_per_sample
        size = min(largest, 2 * size)


def _fits(compute: Callable[[_Work], None], work: _Work, device: torch.device) -> bool:
    """Do the work; return whether memory was enough for it."""
    try:
        compute(work)
        return True
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        drop_traceback(error)
    release_memory(device)
    return False


def _spaced(pool: np.ndarray, count: int) -> np.ndarray:
    """Return `count` evenly spaced samples."""
    return pool[(2 * np.arange(count) + 1) * len(pool) // (2 * count)]

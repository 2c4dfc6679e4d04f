"""The search for the first micro-batch size: the fastest that fits, measured by passes over real samples, or remembered."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from training.collectives import Ranks
from training.loader import EpochSampler, Loader
from training.memory import free_bytes, release_memory, synchronise, usable_bytes, words_of_out_of_memory
from training.pass_memory import bytes_of_pass
from training.plan import Plan
from training.recipe import Recipe, Stage
from training.share import micro_batches
from training.size_cache import SizeCache, key_of
from training.step import TrainStep
from training.tasks.task import Task
from training.world import launched_world

_ENOUGH_SECONDS, _SEARCH_SECONDS = 0.3, 1.5
"""After the first, sizes that are clearly slower are not timed again, nor any that was timed often enough; after the second,
none is."""

_PASS_SECONDS = 0.15
"""What sizes are compared on takes about this long: of a share that takes longer, evenly spaced samples."""

_ENOUGH_TIMINGS, _MOST_TIMINGS = 3, 20
_AS_FAST, _CLEARLY_SLOWER = 1.03, 1.3
"""Times of a size over the shortest."""

_Samples = TypeVar("_Samples", int, np.ndarray)


class SizeSearch:
    """Finds the size for a model, a device and a share of at most `sampler.micro_batch_size` samples; the ranks agree on it."""

    def __init__(
        self,
        *,
        task: Task,
        model: nn.Module,
        step: TrainStep,
        loader: Loader,
        sampler: EpochSampler,
        costs: np.ndarray,
        ranks: Ranks,
        plan: Plan,
        recipe: Recipe,
    ) -> None:
        self._model, self._step, self._loader, self._sampler, self._ranks = model, step, loader, sampler, ranks
        self._largest_share = sampler.micro_batch_size
        self._longest = np.argsort(-costs, kind="stable")
        # A host's memory is that of all its ranks.
        self._sharers = (launched_world().local_size or ranks.size) if ranks.device.type == "cpu" else 1
        self._cache = SizeCache.of_user()
        sample = task.fetch("train", torch.from_numpy(self._longest[:1]))
        self.key = key_of(
            task=task.name,
            model=repr(model),
            shapes=[[name, list(parameter.shape)] for name, parameter in model.named_parameters()],
            sample=_shapes_of(sample, math.ceil(costs[self._longest[0]])),
            device=plan.device_name,
            threads=plan.threads_per_process,
            processes=plan.world_size,
            precision=[recipe.precision, recipe.resolved.mixed_precision],
            recomputes=plan.gradient_checkpointing,
            largest_share=self._largest_share,
            asked=plan.micro_batch_size,
            torch=torch.__version__,
        )
        """Stands for what the best size depends on."""

    def find(self, stage: Stage) -> tuple[int, int | None, str]:
        """Return size, bytes that one of the longest samples needs where that is known, and in words where it is from."""
        started = time.perf_counter()
        known = self._cache.get(self.key) if self._ranks.is_main else None
        cached = json.loads(self._ranks.agree_on_text(json.dumps(known)))
        if cached is not None and self._holds(cached):
            return cached["size"], cached["bytes_per_sample"], "as measured here before"
        size, needed, is_limited = self._measure(stage)
        if self._ranks.is_main:
            self._cache.put(self.key, {"size": size, "bytes_per_sample": needed, "is_limited": is_limited})
        return size, needed, f"measured in {time.perf_counter() - started:.2g} s"

    def _holds(self, cached: Mapping[str, Any]) -> bool:
        """Return whether a size fits on every rank now, and is not due to a lack of memory that is over."""
        free, needed = free_bytes(self._ranks.device), cached["bytes_per_sample"]
        holds = True
        if free is not None and needed is not None:
            fits = usable_bytes(free // self._sharers, self._ranks.device) // needed
            holds = fits >= cached["size"] and not (cached["is_limited"] and fits >= 2 * cached["size"])
        return bool(self._ranks.minimum(int(holds)))

    def _measure(self, stage: Stage) -> tuple[int, int | None, bool]:
        """Return size, bytes that a sample needs, and whether memory, not speed, bounds the size."""
        ranks, device = self._ranks, self._ranks.device
        buffers = [(buffer, buffer.clone()) for buffer in self._model.buffers()]
        self._model.train()

        def compute(indices: np.ndarray) -> None:
            self._step.accumulate(self._loader.training_batch(indices, 0, stage), stage)

        largest = min(self._largest_share, len(self._longest))
        fits, needed = largest_that_fits(
            lambda count: compute(self._longest[:count]),
            largest,
            device,
            sharers=self._sharers,
            standing={parameter.untyped_storage().data_ptr() for parameter in self._model.parameters()},
        )
        fits = ranks.minimum(fits if fits < largest else self._largest_share)
        needed = -ranks.minimum(-(needed or 0)) or None
        typical = self._sampler.global_batch(0, 0)[:: ranks.size][: self._largest_share]
        # Cutting a batch would change what batch statistics are taken of.
        size = fits if _has_batch_statistics(self._model) else _fastest_cut(compute, typical, fits, device)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        release_memory(device)
        return ranks.minimum(size), needed, fits < self._largest_share


def _shapes_of(sample: Mapping[str, torch.Tensor], longest: int) -> dict[str, list[Any]]:
    """Return kind and shape of a sample's tensors; its length is rounded up to a power of two, so that like data are alike."""
    bucket = 1 << max(0, longest - 1).bit_length()
    return {
        name: [str(tensor.dtype), [bucket if size == longest else size for size in tensor.shape[1:]]]
        for name, tensor in sample.items()
    }


def _has_batch_statistics(model: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def largest_that_fits(
    compute: Callable[[int], None],
    largest: int,
    device: torch.device,
    *,
    sharers: int = 1,
    standing: Collection[int] = (),
) -> tuple[int, int | None]:
    """Return the largest micro-batch that is expected to fit, and the bytes that a sample needs where that is known.

    `compute(n)` does a forward and a backward pass of the n longest samples. n doubles only while what was measured says
    that the double fits, so that nothing fails; and it stops as soon as `largest` clearly fits. `sharers` processes share
    the memory; `standing` are the addresses of storages that a pass needs and does not take, such as the parameters'.
    """
    # Not one: a model with batch statistics has none of a single sample.
    size, bytes_per_sample = min(2, largest), None
    if not _fits(compute, size, device):  # what is made once, such as workspaces, is made here
        return 1, None
    while True:
        used: int | None = None

        def measure(count: int) -> None:
            nonlocal used
            used = bytes_of_pass(compute, count, device, standing)

        if not _fits(measure, size, device):
            return max(1, size // 2), bytes_per_sample
        available = free_bytes(device)
        if used is None or available is None:
            # Nothing can be measured here: the sizes themselves are tried.
            fits = largest if device.type == "cpu" else 2 * size
        else:
            bytes_per_sample = max(1, -(-used // size))
            fits = usable_bytes(available // sharers, device) // bytes_per_sample
        if fits >= 2 * largest or size >= largest:
            return min(largest, max(fits, size)), bytes_per_sample
        if fits < 2 * size:
            return max(size, min(fits, largest)), bytes_per_sample
        size = min(largest, 2 * size)


def _fits(compute: Callable[[_Samples], None], samples: _Samples, device: torch.device) -> bool:
    """Return whether a pass has enough memory."""
    try:
        compute(samples)
        return True
    except Exception as error:
        if words_of_out_of_memory(error) is None:
            raise
    release_memory(device)
    return False


def _fastest_cut(compute: Callable[[np.ndarray], None], share: np.ndarray, largest: int, device: torch.device) -> int:
    """Return the size, at most `largest`, of the micro-batches in which a share takes the least time."""
    # On a CPU the time of this thread, which waits for the others: what other processes do hardly counts then.
    clock = time.thread_time if device.type == "cpu" else time.perf_counter

    def seconds(samples: np.ndarray, size: int) -> float:
        synchronise(device)
        before = clock()
        for part in micro_batches(len(samples), size):
            if not _fits(compute, samples[part], device):
                return math.inf
        synchronise(device)
        return clock() - before

    # Longer and longer, until it takes long enough; that also warms up what is slow the first time.
    count = min(4, len(share))
    while count < len(share) and seconds(_spaced(share, count), largest) < _PASS_SECONDS:
        count = min(len(share), 2 * count)
    samples = _spaced(share, count)
    size = fastest_size(lambda size: seconds(samples, size), min(largest, count))
    return largest if size >= len(share) else size


def _spaced(share: np.ndarray, count: int) -> np.ndarray:
    """Return `count` evenly spaced samples of a share."""
    return share[np.arange(count) * len(share) // count]


def fastest_size(seconds: Callable[[int], float], largest: int) -> int:
    """Return the micro-batch size at which a share takes the least time: `largest`, its half, its quarter, ...

    Small ones pad less and stay in the caches, large ones use the device better. A larger one is preferred where it is as
    fast but for noise. Those that come into question are timed in turn, several times: what else the machine does only
    adds to a time, so the shortest counts.
    """
    started = time.monotonic()
    times: dict[int, float] = {}

    def may_be_fastest(size: int) -> bool:
        """Time a size once more and tell."""
        times[size] = min(seconds(size), times.get(size, math.inf))
        return times[size] <= _CLEARLY_SLOWER * min(times.values())

    sizes = [largest]
    may_be_fastest(largest)
    while sizes[-1] > 1 and time.monotonic() - started < _SEARCH_SECONDS:
        sizes.append(-(-sizes[-1] // 2))
        if not may_be_fastest(sizes[-1]) and not may_be_fastest(sizes[-1]):
            break  # smaller ones only get slower
    for timings in range(1, _MOST_TIMINGS):
        is_cheap = time.monotonic() - started < _ENOUGH_SECONDS
        if timings >= _ENOUGH_TIMINGS and not is_cheap:
            break
        for size in sizes:
            is_in_question = is_cheap or times[size] <= _CLEARLY_SLOWER * min(times.values())
            if is_in_question and time.monotonic() - started < _SEARCH_SECONDS:
                may_be_fastest(size)
    least = min(times.values())
    return 1 if least == math.inf else max(size for size, taken in times.items() if taken <= _AS_FAST * least)

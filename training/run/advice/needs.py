"""What the model of a training needs: its parameters, what a sample computes and moves, and how long a pass takes on this CPU.

The launcher, which imports no torch, starts it as a process of its own: `python -m slipway.training.run.advice.needs
ARGUMENTS...`, with the arguments of a training. It prints a line of JSON for each thing that it finds out, the cheapest first,
so that who ends it early has what was there.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ...batches.batch_maker import BatchMaker
from ...common.errors import UserError
from ...common.program.places import words_of
from ...config.recipe import Stage
from ...devices.host import host_memory_bytes
from ...loop.utilisation import typical_samples
from ...tasks.task import Batch, Task
from ..cli import parse_config
from ..one_run import make_task_alone

_STATE_BYTES, _MEMORY_SHARE = 8, 0.5
"""Of a parameter, weights and gradients; and what of the free memory they may take for a pass to be tried."""
_SECONDS, _MOST_SAMPLES = 2.0, 64
"""How long a pass may take to be done again with more samples, and how many it has at most."""


def main(arguments: Sequence[str]) -> int:
    """Print what the model of a training needs; return 0, 2 where it cannot be told."""
    stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the user's code prints is no answer
    logging.disable(logging.WARNING)
    try:
        for found in find_needs(arguments):
            print(json.dumps(found), file=stdout, flush=True)
    except Exception as error:
        words = str(error) if isinstance(error, UserError) else words_of(error)
        print(json.dumps({"error": words}), file=stdout, flush=True)
        return 2
    return 0


def find_needs(arguments: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield what is found out, one part after another, as fields of the launcher's `ModelNeeds`.

    Raises `UserError` for arguments that name no task, and whatever the user's code raises.
    """
    config = parse_config(arguments, os.environ)
    task = make_task_alone(config)
    recipe = config.make_recipe(task)
    model = _make_model(task)
    if any(isinstance(one, nn.parameter.UninitializedParameter) for one in model.parameters()):
        raise UserError("the model's parameters have no size before a first batch")
    count = sum(one.numel() for one in model.parameters())
    yield {
        "parameters": count,
        "base_batch_size": recipe.batch_size,
        "is_batch_scaled": recipe.batch_rule == "scale",
    }
    if count * _STATE_BYTES > host_memory_bytes()[1] * _MEMORY_SHARE:
        return
    if any(one.is_meta for one in model.parameters()):
        model = task.build_model()
    yield from _passes(task, model.train(), recipe.stages[0], config.seed)


def _make_model(task: Task) -> nn.Module:
    """Return the model, without its memory where it can be made so: it may be larger than this host."""
    try:
        with torch.device("meta"):
            return task.build_model()
    except Exception:  # it may load weights, or compute with them
        return task.build_model()


def _passes(task: Task, model: nn.Module, stage: Stage, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the operations of a sample in a forward and a backward pass, and how long a pass takes here."""
    task.begin_stage(model, stage)
    maker = BatchMaker(task, seed=seed, dtype=torch.float32, device=torch.device("cpu"))
    samples = typical_samples(task)

    def counted(sample: int, number: int) -> _Counts:
        # The same again: nothing is padded, and batch statistics, which one sample does not have, exist.
        (batch,) = maker.make_training([np.full(number, sample)], 0, stage)
        return _count(task, model, batch, stage)

    pairs = [counted(sample, 2) for sample in samples]
    two, four = pairs[0], counted(samples[0], 4)
    once = max(0.0, two.num_bytes - (four.num_bytes - two.num_bytes))  # what a pass moves whatever its samples: weights
    yield {
        "flops_per_sample": float(np.mean([one.flops for one in pairs])) / 2,
        "bytes_per_sample": max(0.0, float(np.mean([one.num_bytes for one in pairs])) - once) / 2,
        "bytes_per_pass": once,
        "launches_per_pass": round(float(np.mean([one.launches for one in pairs]))),
    }

    number, least = 2, 0.0
    begun, before, own = time.perf_counter(), _busy_seconds(), time.process_time()
    while True:
        (batch,) = maker.make_training([np.resize(samples, number)], 0, stage)
        seconds = _seconds(task, model, batch, stage)
        least = least or seconds
        found = {"cpu_samples": number, "cpu_seconds": seconds, "cpu_least_seconds": least}
        wall, of_others = time.perf_counter() - begun, _busy_seconds() - before - (time.process_time() - own)
        share = max(0.0, of_others / wall / (os.cpu_count() or 1))
        yield {**found, "cpu_threads": torch.get_num_threads(), "cpu_share_of_others": round(share, 2)}
        if number >= min(_MOST_SAMPLES, task.num_samples("train")) or seconds > _SECONDS:
            return
        number *= 2


def _busy_seconds() -> float:
    """Return for how long the processors of this host have computed, all together."""
    times = psutil.cpu_times()
    return float(times.user + times.system)


def _seconds(task: Task, model: nn.Module, batch: Batch, stage: Stage) -> float:
    """Return the least time of three passes: what else the machine does makes some of them longer."""
    found = []
    for _ in range(3):
        begun = time.perf_counter()
        _pass(task, model, batch, stage)
        found.append(time.perf_counter() - begun)
        if found[-1] > _SECONDS:
            break
    return min(found)


def _pass(task: Task, model: nn.Module, batch: Batch, stage: Stage) -> None:
    model.zero_grad(set_to_none=True)
    losses, _ = task.weighted_losses(task.forward(model, batch), batch, stage)
    losses.sum().backward()


class _Counts(NamedTuple):
    """What a forward and a backward pass do: operations on numbers, bytes read and written, operations that are no view."""

    flops: int
    num_bytes: int
    launches: int


def _count(task: Task, model: nn.Module, batch: Batch, stage: Stage) -> _Counts:
    # By plain matrix products: the fused operations of a CPU are not counted.
    plain = (sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False))
    with plain[0], plain[1], _Traffic() as traffic, FlopCounterMode(display=False) as operations:
        _pass(task, model, batch, stage)
    return _Counts(operations.get_total_flops(), traffic.num_bytes, traffic.launches)


class _Traffic(TorchDispatchMode):
    """Counts the operations of which an accelerator starts a kernel each, those that are no view, and the bytes they move."""

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes = self.launches = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            moved = [one for one in tree_leaves((args, kwargs, result)) if isinstance(one, torch.Tensor)]
            self.launches += 1
            self.num_bytes += sum(one.numel() * one.element_size() for one in moved)
        return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

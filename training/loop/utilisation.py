"""Count a model's FLOPs for model FLOP utilisation (MFU): its operations as a share of the devices' peak.

As in Chowdhery et al. 2022, "PaLM: Scaling Language Modeling with Pathways", appendix B: observed samples a second times the
operations of a forward and backward pass of one, over the peak of all devices. Operations on padding, and those that are
recomputed, are not counted.
"""

from __future__ import annotations

import logging
import math

import numpy as np
import torch

from ..batches.loader import Loader
from ..common.known_devices import known_device
from ..config.recipe import MixedPrecision, Stage
from ..devices.memory import out_of_memory_message
from ..devices.ranks import Ranks
from ..observers.events import ModelFlops
from ..step.buffers import restored_buffers
from ..step.compilation import uncompiled
from ..step.train_step import TrainStep
from ..tasks.task import Task

logger = logging.getLogger("slipway")

_NUM_SAMPLES, _POOL_SIZE = 8, 4096
"""Samples whose operations are counted, and the number from which they are drawn."""


def peak_flops_per_second(device_name: str, mixed_precision: MixedPrecision) -> float | None:
    """Return the peak of a device, dense, in a precision; `None` if it is not known.

    >>> peak_flops_per_second("NVIDIA A100-SXM4-80GB", "bf16")
    312000000000000.0
    """
    known = known_device(device_name)
    if known is None:
        return None
    has_bf16 = not isinstance(known.architecture, tuple) or known.architecture >= (8, 0)
    half = known.half if mixed_precision == "fp16" or has_bf16 else None
    peak = known.full if mixed_precision == "no" else half
    return None if peak is None else peak * 1e12


def peak_of_ranks(ranks: Ranks, mixed_precision: MixedPrecision, dtype: torch.dtype) -> float | None:
    """Return the peak of all ranks' devices together; `None` if that of one is not known. A collective."""
    if ranks.device.type != "cuda":
        return None
    peak = peak_flops_per_second(torch.cuda.get_device_name(ranks.device), mixed_precision)
    if dtype != torch.float32 or (mixed_precision == "no" and torch.backends.cuda.matmul.allow_tf32):
        peak = None
    total = float(ranks.sum_(torch.tensor([peak or math.nan], dtype=torch.float64, device=ranks.device)))
    return total if math.isfinite(total) else None


def find_model_flops(step: TrainStep, loader: Loader, ranks: Ranks, stage: Stage) -> ModelFlops | None:
    """Return, on rank 0, what is needed to show the utilisation; `None` if the peak is not known or memory is too short.

    Called on every rank before the first step. Gradients are left behind; buffers and torch's random state are put back.
    """
    precision = step.recipe.resolved.mixed_precision
    peak = peak_of_ranks(ranks, precision, step.state.parameters.dtype)
    # A pass that is collective cannot be done by one rank alone.
    if peak is None or not ranks.is_main or step.state.parameters.passes_are_collective:
        return None
    flops = _count_flops_per_sample(step, loader, stage)
    if flops is None:
        return None
    return ModelFlops(flops_per_sample=flops, peak_flops_per_second=peak, mixed_precision=precision)


def _count_flops_per_sample(step: TrainStep, loader: Loader, stage: Stage) -> float | None:
    from torch.utils.flop_counter import FlopCounterMode

    task, model, device = step.task, step.state.model, step.state.parameters.device
    samples = typical_samples(task)
    total = 0
    model.train()
    try:
        with restored_buffers(model), torch.random.fork_rng([device] if device.type == "cuda" else []):
            for sample in samples:
                # Twice the same sample: nothing is padded, and batch statistics, which one sample does not have, exist.
                batch = loader.training_batch(np.array([sample, sample]), 0, stage)
                with uncompiled(step.forward), FlopCounterMode(display=False) as passes:
                    step.accumulate(batch, stage)
                total += passes.get_total_flops()
                if step.plan.gradient_checkpointing:
                    with FlopCounterMode(display=False) as again, torch.no_grad():
                        task.forward(model, batch)
                    total -= again.get_total_flops()
    except Exception as error:
        # A figure for the screen ends no run: some models cannot be counted, and the first step reports other errors.
        logger.info("model FLOPs cannot be counted: %s", out_of_memory_message(error) or error)
        return None
    return total / (2 * len(samples))


def typical_samples(task: Task) -> np.ndarray:
    """Return samples whose lengths are evenly spaced among all."""
    count = task.num_samples("train")
    pool = np.linspace(0, count - 1, min(_POOL_SIZE, count)).round().astype(np.int64)
    costs = task.costs("train")
    if costs is not None:
        pool = pool[np.argsort(costs[pool], kind="stable")]
    return pool[np.linspace(0, len(pool) - 1, min(_NUM_SAMPLES, len(pool))).round().astype(int)]

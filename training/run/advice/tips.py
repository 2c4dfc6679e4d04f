"""Advice measured on this machine and this data: batch size, learning rate, workers, and whether more processes help."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...batches.loader import Loader
from ...batches.order import Order
from ...config.plan import Plan
from ...config.recipe import Recipe
from ...devices.host import usable_cores
from ...devices.manager import DeviceManager
from ...devices.ranks import Ranks
from ...loop.trainer import Trainer
from ...observers.events import EpochEnd, Observer, StepEnd
from ...observers.runtime import Runtime
from ...tasks.sign.task import SignTask
from ...tasks.task import Task
from ..training_config import TrainingConfig

_WARM_UP_STEPS, _TIMED_STEPS = 2, 8
_ENOUGH = 0.9
"""The smallest batch with this share of the best throughput is advised: smaller batches learn more from an epoch."""


@dataclass(frozen=True, kw_only=True)
class Tip:
    """One piece of advice and the measurement behind it."""

    about: str
    advice: str
    because: str


def give_tips(config: TrainingConfig, task: Task) -> list[Tip]:
    """Time a few steps of the recipe's last stage at several batch sizes; return the advice that follows."""
    device = DeviceManager.detect_best_device(config.device, multi_gpu=False)
    recipe = config.make_recipe(None if isinstance(task, SignTask) else task)
    recipe = dataclasses.replace(recipe, stages=recipe.stages[-1:])
    base, samples = recipe.batch_size, task.num_samples("train")
    seconds = {
        size: _step_seconds(task, recipe, size, device) for size in (base, 2 * base, 4 * base) if size <= samples
    }
    if not seconds:
        advice = f"--batch-size {samples} at most"
        return [Tip(about="batch", advice=advice, because=f"there are {samples} training samples, fewer than {base}")]
    tips = [_batch_tip(recipe, seconds), _workers_tip(task, recipe, seconds[base], device)]
    if device.type == "cpu":
        tips.append(_cpu_processes_tip(task, recipe, seconds[base], device))
    else:
        tips.append(_devices_tip(task, recipe, device))
    return tips


class _Clock(Observer):
    """Times each step, from the end of the one before or of the validation between them."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last = time.perf_counter()

    def on_step(self, event: StepEnd) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now

    def on_epoch_end(self, event: EpochEnd) -> None:
        self._last = time.perf_counter()


def _step_seconds(task: Task, recipe: Recipe, batch_size: int, device: torch.device) -> float:
    """Return the median time of an optimizer step, its data included."""
    mixed_precision: Any = DeviceManager.resolve_precision("auto", device)[0]
    clock, steps = _Clock(), _WARM_UP_STEPS + _TIMED_STEPS
    # Epochs enough for a data set of one step each, and no early stop.
    stage = dataclasses.replace(recipe.stages[0], epochs=steps, patience=None)
    resolved = dataclasses.replace(recipe, batch_size=batch_size, max_steps=steps, stages=(stage,)).resolve(
        1, mixed_precision
    )
    plan = Plan.alone(device.type)
    Trainer(
        task=task,
        recipe=resolved,
        plan=plan,
        runtime=Runtime(ranks=Ranks.alone(device), observer=clock),
    ).run()
    return float(np.median(clock.seconds[_WARM_UP_STEPS:]))


def _batch_tip(recipe: Recipe, seconds: dict[int, float]) -> Tip:
    rates = {size: size / step for size, step in seconds.items()}
    fastest = max(rates.values())
    advised = next(size for size, rate in rates.items() if rate >= _ENOUGH * fastest)
    rate = recipe.optimizer.learning_rate * advised / recipe.batch_size
    measured = ", ".join(f"{size}: {rate:,.0f}" for size, rate in rates.items())
    return Tip(
        about="batch and rate",
        advice=f"--batch-size {advised} --learning-rate {rate:g}",
        because=f"samples per second by batch size: {measured}; the smallest within {1 - _ENOUGH:.0%} of the fastest, "
        "with the rate scaled to it linearly",
    )


def _workers_tip(task: Task, recipe: Recipe, step_seconds: float, device: torch.device) -> Tip:
    loader = Loader(task, seed=recipe.seed, dtype=torch.float32, device=device)
    order = Order(seed=recipe.seed, num_samples=task.num_samples("train"))
    times = []
    for _ in range(_TIMED_STEPS):
        started = time.perf_counter()
        loader.training_batch(order.batch(0, 0, recipe.batch_size), 0, recipe.stages[0])
        times.append(time.perf_counter() - started)
    data_seconds = float(np.median(times))
    share = data_seconds / step_seconds
    if device.type == "cpu":
        advice, why = "--num-workers 0", "threads that prepare ahead would take the cores that train"
    else:
        count = max(1, round(1.5 * data_seconds / max(step_seconds - data_seconds, 1e-4)))
        advice, why = f"--num-workers {count}", "enough threads to stay ahead of the device"
    measured = (
        f"a batch takes {data_seconds * 1e3:.1f} ms to prepare, {share:.0%} of a step of {step_seconds * 1e3:.1f} ms"
    )
    return Tip(about="workers", advice=advice, because=f"{measured}; {why}")


def _cpu_processes_tip(task: Task, recipe: Recipe, step_seconds: float, device: torch.device) -> Tip:
    """Compare the threads of one process with one process for each core: the most that processes could gain."""
    cores, threads = usable_cores(), torch.get_num_threads()
    if cores == 1:
        return Tip(about="processes", advice="one process", because="there is one usable core")
    torch.set_num_threads(1)
    try:
        single = _step_seconds(task, recipe, recipe.batch_size, device)
    finally:
        torch.set_num_threads(threads)
    gain = cores * step_seconds / single
    steps = -(-task.num_samples("train") // (recipe.batch_size * cores))
    advice = f"{cores} processes" if gain > 1.2 and steps >= 20 else "one process"
    return Tip(
        about="processes",
        advice=advice,
        because=f"a step takes {step_seconds * 1e3:.1f} ms with {threads} threads and {single * 1e3:.1f} ms with one, so "
        f"{cores} processes could gain at most x {gain:.2f} before they communicate, with {steps} steps an epoch under `scale`",
    )


def _devices_tip(task: Task, recipe: Recipe, device: torch.device) -> Tip:
    count = DeviceManager.device_count(device.type)
    samples = task.num_samples("train")
    steps = -(-samples // (recipe.batch_size * count))
    because = (
        f"{count} {device.type} device{'s' if count > 1 else ''}; {samples} training samples are {steps} steps an epoch"
    )
    if count == 1:
        return Tip(about="processes", advice="one process", because=because)
    advice = f"{count} processes" if steps >= 20 else "--batch-rule fixed, or fewer processes: the data set is small"
    return Tip(about="processes", advice=advice, because=because)

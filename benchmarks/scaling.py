"""What a sample costs as data sets and clips grow: from ten thousand to ten million samples, from 16 to 1024 frames.

Measured are the order of samples alone, the order with the loader, and whole training steps of a tiny model; the memory of
the order; the time to the first batch of a resume in the middle of two thousand million samples; and, for long clips, a
step of the sign model against the loop by hand.

    python -m benchmarks.scaling [--rounds 5] [--quick]
"""

from __future__ import annotations

import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import nn

from benchmarks import sign_loops
from benchmarks.measure import Clock, Cost, Ratio, console, cpu, finish, in_turn, option_parser, wall
from benchmarks.slipway_side import train_with_slipway
from slipway.training.batches.loader import Loader
from slipway.training.batches.order import Order
from slipway.training.batches.sampler import EpochSampler
from slipway.training.config.plan import Plan
from slipway.training.devices.ranks import Ranks
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.tensors import TensorTask

SIZES = (10**4, 10**5, 10**6, 10**7)
FRAMES = (16, 64, 256, 1024)
BATCH_SIZE, NUM_FEATURES, NUM_CLASSES = 32, 8, 10
FLAT = 1.1
"""Most that a sample may cost, in CPU time, of what it costs among ten thousand."""

CONSTANT = 1.2
"""Most that the memory of the order may be of what it is for ten thousand samples, whose second block is a short one."""

SEEK_MILLISECONDS = 1.0
SEEK_TO, SEEK_AMONG = 10**9, 2 * 10**9
_CLIP_BATCH, _FRAMES_A_RUN = 8, 16_384


def make_sampler(num_samples: int, costs: np.ndarray | None = None) -> EpochSampler:
    """Return the sampler of one rank."""
    return EpochSampler(
        order=Order(seed=0, num_samples=num_samples),
        costs=costs,
        global_batch_size=BATCH_SIZE,
        rank=0,
        share_weights=(1.0,),
        micro_batch_size=lambda: BATCH_SIZE,
    )


def make_task(num_samples: int) -> TensorTask:
    """Return random samples, of which a model is to learn nothing."""
    random = np.random.default_rng(0)
    inputs = torch.from_numpy(random.standard_normal((num_samples, NUM_FEATURES), dtype=np.float32))
    labels = torch.from_numpy(random.integers(0, NUM_CLASSES, num_samples))
    return TensorTask(
        lambda: nn.Sequential(nn.Linear(NUM_FEATURES, 32), nn.ReLU(), nn.Linear(32, NUM_CLASSES)),
        {"train": (inputs, labels)},
        keyed_randomness=True,
    )


def per(count: int, cost: Cost) -> Cost:
    """Return a cost divided by a count."""
    return Cost(wall_seconds=cost.wall_seconds / count, cpu_seconds=cost.cpu_seconds / count)


def cost_of_order(sampler: EpochSampler, steps: int) -> Cost:
    """Return what the order costs for each sample, over `steps` batches, in as many epochs as that takes."""
    clock, done, epoch = Clock(), 0, 0
    while done < steps:
        for _ in sampler.epoch(epoch):
            done += 1
            if done == steps:
                break
        epoch += 1
    return per(steps * BATCH_SIZE, clock.read())


def cost_of_loading(task: TensorTask, steps: int) -> Cost:
    """Return what order and loader cost for each sample."""
    sampler = make_sampler(task.num_samples("train"))
    stage = TrainingConfig(stages_config="minimal").make_recipe().stages[0]
    loader = Loader(task, seed=0, dtype=torch.float32, device=torch.device("cpu"))
    clock, done, epoch = Clock(), 0, 0
    while done < steps:
        for _, batches in loader.steps(sampler.epoch(epoch), epoch, stage):
            for _ in batches:
                done += 1
            if done >= steps:
                break
        epoch += 1
    return per(steps * BATCH_SIZE, clock.read())


def cost_of_training(task: TensorTask, steps: int) -> Cost:
    """Return what a training costs for each sample, journal and progress lines on."""
    epochs = -(-steps * BATCH_SIZE // task.num_samples("train"))
    config = TrainingConfig(stages_config="minimal", epochs=epochs, batch_size=BATCH_SIZE, max_steps=steps)
    plan = replace(Plan.alone(), micro_batch_size=BATCH_SIZE)
    trained = train_with_slipway(task, config.make_recipe().resolve(1, "no"), plan, Ranks.alone())
    return per(trained.steps * BATCH_SIZE, trained.cost)


def memory_of_order(num_samples: int) -> int:
    """Return the most bytes that making a sampler and reading a thousand batches take."""
    tracemalloc.start()
    cost_of_order(make_sampler(num_samples), 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def seconds_to_seek() -> float:
    """Return the time from a new sampler to the batch at sample `SEEK_TO`."""
    started = time.perf_counter()
    sampler = make_sampler(SEEK_AMONG)
    next(sampler.epoch(0, SEEK_TO // BATCH_SIZE))
    return time.perf_counter() - started


def measure_sizes(sizes: Sequence[int], rounds: int, scale: int) -> dict[str, dict[str, list[Cost]]]:
    """Return the cost of a sample by what is measured and by size; `scale` multiplies how long each is measured."""
    tasks = {size: make_task(size) for size in sizes}
    random = np.random.default_rng(0)
    lengths = {size: random.integers(16, 48, size) for size in sizes}
    kinds: dict[str, Callable[[int], Callable[[], Cost]]] = {
        "order": lambda size: partial(cost_of_order, make_sampler(size), 1500 * scale),
        "order by length": lambda size: partial(cost_of_order, make_sampler(size, lengths[size]), 1000 * scale),
        "order and loader": lambda size: partial(cost_of_loading, tasks[size], 500 * scale),
        "training": lambda size: partial(cost_of_training, tasks[size], 150 * scale),
    }
    return {kind: in_turn({str(size): make(size) for size in sizes}, rounds) for kind, make in kinds.items()}


def measure_frames(frames: Sequence[int], rounds: int, frames_a_run: int) -> dict[int, dict[str, list[Cost]]]:
    """Return the cost of a frame of clips of each length, by hand and with Slipway, in batches of equal size."""
    recipe = sign_loops.make_recipe(1, epochs=1, batch_size=_CLIP_BATCH)
    alone = Ranks.alone()
    found = {}
    for length in frames:
        num_clips = max(2 * _CLIP_BATCH, frames_a_run // length)
        clips = sign_loops.equal_clips(num_clips, length)

        def by_hand(clips: Any = clips, count: int = num_clips * length) -> Cost:
            return per(count, sign_loops.train_by_hand(clips, recipe, alone).cost)

        def slipway(clips: Any = clips, count: int = num_clips * length) -> Cost:
            trained = sign_loops.train_by_slipway(clips, recipe, alone, micro_batch_size=_CLIP_BATCH)
            return per(count, trained.cost)

        found[length] = in_turn({"plain PyTorch": by_hand, "Slipway": slipway}, rounds)
    return found


def draw(sizes: dict[str, dict[str, list[Cost]]]) -> Table:
    """Return what a sample costs by size."""
    table = Table(title="CPU nanoseconds a sample: medians", title_justify="left")
    table.add_column("samples", justify="right")
    for kind in sizes:
        table.add_column(kind, justify="right")
    for size in next(iter(sizes.values())):
        medians = [statistics.median(cpu(of_size[size])) * 1e9 for of_size in sizes.values()]
        table.add_row(f"{int(size):,}", *[f"{median:.0f}" for median in medians])
    return table


def ratios_of_sizes(costs: dict[str, dict[str, list[Cost]]], order_bytes: dict[str, int]) -> list[Ratio]:
    """Return what a sample costs among more samples over what it costs among the fewest, and the same of the memory."""
    ratios = []
    for kind, of_kind in costs.items():
        smallest, *larger = of_kind
        for size in larger:
            name = f"{kind}: cost a sample among {int(size):,}, of that among {int(smallest):,}"
            # A loader alone fetches rows at random from memory that no cache holds: told, not promised.
            target = FLAT if kind in ("order", "training") else None
            ratios.append(Ratio.of(name, cpu(of_kind[size]), cpu(of_kind[smallest]), at_most=target))
    smallest, *_ = order_bytes
    growth = max(order_bytes.values()) / order_bytes[smallest]
    return [
        *ratios,
        Ratio.single(f"memory of the order: most, of that for {int(smallest):,}", growth, at_most=CONSTANT),
    ]


def main() -> int:
    """Measure, print the tables, write the figures, and return 1 where a target is missed."""
    options = option_parser(__doc__).parse_args()
    torch.set_num_threads(1)
    sizes, frames = ((10**4, 10**6), (16, 64)) if options.quick else (SIZES, FRAMES)
    rounds, shortened = (1, 8) if options.quick else (options.rounds, 1)
    by_size = measure_sizes(sizes, rounds, 1 if options.quick else 10)
    memory_of_order(sizes[0])  # what is computed once and kept does not count
    order_bytes = {str(size): memory_of_order(size) for size in sizes}
    ratios = ratios_of_sizes(by_size, order_bytes)
    seeks = [seconds_to_seek() * 1e3 for _ in range(50)]
    ratios.append(Ratio.of("milliseconds to sample 10^9", seeks, [1.0] * len(seeks), at_most=SEEK_MILLISECONDS))
    by_frames = measure_frames(frames, rounds, _FRAMES_A_RUN // shortened)
    for length, costs in by_frames.items():
        ours, theirs = wall(costs["Slipway"]), wall(costs["plain PyTorch"])
        ratios.append(Ratio.of(f"clips of {length} frames: step time, of plain PyTorch", ours, theirs))
    console().print(draw(by_size))
    figures = {
        "cpu_nanoseconds_per_sample": {
            kind: {size: [seconds * 1e9 for seconds in cpu(found)] for size, found in costs.items()}
            for kind, costs in by_size.items()
        },
        "order_bytes": order_bytes,
        "seek_milliseconds": seeks,
        "wall_microseconds_per_frame": {
            str(length): {side: [seconds * 1e6 for seconds in wall(found)] for side, found in costs.items()}
            for length, costs in by_frames.items()
        },
    }
    return finish("scaling", ratios, quick=options.quick, figures=figures)


if __name__ == "__main__":
    sys.exit(main())

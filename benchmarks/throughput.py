"""Samples a second on the sign model: Slipway against plain PyTorch with padded random batches, at equal weights.

Real clips of unequal length, the default recipe's model, batch, dropout, optimizer and clipping, on one process and on two;
told beside it: the default recipe's own data, and its stages that augment. The share of a step that is spent on getting data
is measured on all stages of the default recipe.

    python -m benchmarks.throughput [--rounds 5] [--threads 1] [--quick]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from rich.table import Table

from benchmarks import sign_loops
from benchmarks.measure import Ratio, console, finish, option_parser
from benchmarks.side_by_side import BY_HAND, SLIPWAY, Case, Found, measure
from benchmarks.slipway_side import train_with_slipway
from slipway.training.batches.loader import Loader
from slipway.training.batches.sampler import StepWork
from slipway.training.config.plan import Plan
from slipway.training.config.recipe import Stage
from slipway.training.devices.host import usable_cores
from slipway.training.devices.ranks import Ranks
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.sign.options import ModelSpec
from slipway.training.tasks.sign.task import SignTask
from slipway.training.tasks.task import Batch

TARGETS = {1: 1.3, 2: 1.2}
"""Samples a second over plain PyTorch's on real lengths, by processes."""

WAITING_TARGET = 0.03
"""The share of step time spent on data, default recipe."""

CASES = {
    "real lengths, 1 process": Case(clips="real"),
    "real lengths, 2 processes": Case(clips="real", num_ranks=2, epochs=6),
    "real lengths, augmented, 1 process": Case(clips="real", augments=True, epochs=2),
    "default data, 1 process": Case(clips="default", epochs=1),
    "default data, augmented, 1 process": Case(clips="default", augments=True, epochs=1),
}


@dataclass(kw_only=True)
class Waiting:
    """Seconds that the training thread spends on data, and all it takes, by stage."""

    data_seconds: dict[str, float]
    total_seconds: dict[str, float]


def measure_waiting(clips: sign_loops.Clips, threads: int) -> Waiting:
    """Train an epoch of each stage of the default recipe, and time what the loop waits for its loader."""
    torch.set_num_threads(threads)
    recipe = TrainingConfig(epochs=1).make_recipe().resolve(1, "no")
    found = Waiting(data_seconds={}, total_seconds={})
    original = Loader.steps

    def timed(loader: Loader, works: Iterable[StepWork], epoch: int, stage: Stage) -> Iterator[Any]:
        waited, started = 0.0, time.perf_counter()

        def clocked(source: Iterator[Any]) -> Iterator[Any]:
            nonlocal waited
            while True:
                asked = time.perf_counter()
                item = next(source, None)
                waited += time.perf_counter() - asked
                if item is None:
                    return
                yield item

        for work, batches in clocked(iter(original(loader, works, epoch, stage))):
            of_step: Iterator[Batch] = clocked(batches)
            yield work, of_step
        found.data_seconds[stage.name] = waited
        found.total_seconds[stage.name] = time.perf_counter() - started

    with (
        tempfile.TemporaryDirectory() as cache,
        patch.dict(os.environ, XDG_CACHE_HOME=cache),
        patch.object(Loader, "steps", timed),
    ):
        train_with_slipway(SignTask(clips.data, ModelSpec()), recipe, Plan.alone(), Ranks.alone())
    return found


def share_of_recipe(waiting: Waiting) -> float:
    """Return the share of the default recipe's step time that is spent on data, each stage as long as it is there."""
    epochs = {stage.name: stage.epochs for stage in TrainingConfig().make_recipe().stages}
    data = sum(waiting.data_seconds[name] * count for name, count in epochs.items())
    return data / sum(waiting.total_seconds[name] * count for name, count in epochs.items())


def draw(found: dict[str, Found]) -> Table:
    """Return a row for each case."""
    table = Table(title="Samples a second on the sign model: medians", title_justify="left")
    table.add_column("case", no_wrap=True)
    for column in ("data", BY_HAND, SLIPWAY, "micro-batch", "difference of weights"):
        table.add_column(column, justify="left" if column == "data" else "right")
    for name, of_case in found.items():
        rates = of_case.as_dict()["samples_per_second"]
        medians = [f"{statistics.median(rates[side]):.0f}" for side in (BY_HAND, SLIPWAY)]
        table.add_row(name, of_case.data, *medians, str(of_case.micro_batch_size), f"{of_case.difference:.0e}")
    return table


def main() -> int:
    """Measure, print the tables, write the figures, and return 1 where a target is missed."""
    parser = option_parser(__doc__)
    parser.add_argument("--threads", type=int, default=1, help="of each process, on both sides [1]")
    options = parser.parse_args()
    cases = CASES
    if options.quick:
        real = {name: case for name, case in CASES.items() if case.clips == "real"}
        cases = {name: replace(case, epochs=1, num_batches=4) for name, case in real.items()}
    rounds = 1 if options.quick else options.rounds
    found: dict[str, Found] = {}
    ratios: list[Ratio] = []
    for name, case in cases.items():
        found[name] = measure(replace(case, rounds=rounds, threads=options.threads))
        judged = case.clips == "real" and not case.augments
        ratios += found[name].ratios(name, at_least=TARGETS[case.num_ranks] if judged else None)
    clips = sign_loops.whole_batches(sign_loops.default_clips(), 32, at_most=2 if options.quick else 30)
    waiting: dict[int, list[Waiting]] = {}
    for threads in sorted({options.threads, usable_cores()}):
        # A run takes as many threads as there are cores: its steps are shorter, what it waits for data is not.
        waiting[threads] = [measure_waiting(clips, threads) for _ in range(rounds)]
        shares = [share_of_recipe(of_round) for of_round in waiting[threads]]
        name = f"default recipe, {threads} thread{'s' * (threads > 1)}: share of step time spent on data"
        ratios.append(Ratio.of(name, shares, np.ones(len(shares)).tolist(), at_most=WAITING_TARGET))
    console().print(draw(found))
    figures = {
        "threads": options.threads,
        "cases": {name: of_case.as_dict() for name, of_case in found.items()},
        "waiting": {
            str(threads): [vars(of_round) for of_round in of_threads] for threads, of_threads in waiting.items()
        },
    }
    return finish("throughput", ratios, quick=options.quick, figures=figures)


if __name__ == "__main__":
    sys.exit(main())

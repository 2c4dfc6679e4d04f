"""What `--micro-batch-size auto` reaches: samples a second with the size it takes, against the best fixed one.

The bundled sign model, on one thread and on as many as a run takes, and one several times as large, in the default recipe's
longest stage, which augments. In every round each fixed size trains, and auto, which searches anew each time: nothing is
remembered from one round to the next. Steps are timed once they are steady; what the search takes is told beside them.

    python -m benchmarks.micro_batch [--rounds 5] [--threads N] [--quick]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from rich.table import Table

from benchmarks import sign_loops
from benchmarks.measure import Clock, Cost, Ratio, console, finish, in_turn, option_parser, wall
from slipway.training.config.plan import Plan
from slipway.training.config.recipe import Recipe, Stage
from slipway.training.devices.manager import DeviceManager
from slipway.training.devices.ranks import Ranks
from slipway.training.loop.trainer import Trainer
from slipway.training.observers.events import Observer, StepEnd
from slipway.training.observers.runtime import Runtime
from slipway.training.run.training_config import TrainingConfig
from slipway.training.step.micro_batch.search import SizeSearch
from slipway.training.tasks.sign.options import ModelSpec
from slipway.training.tasks.sign.task import SignTask

TARGET = 0.95
"""Samples a second of auto over those of the best fixed size."""

WARM_STEPS = 2
"""At the start of each side, not timed: they take memory that the later ones use again."""

AUTO = "auto"
LARGER = ModelSpec(width=160, blocks=4)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is compared."""

    model: ModelSpec
    threads: int
    num_batches: int
    """Global batches that a side trains on in a round, after those that warm it up."""
    rounds: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a comparison found."""

    case: Case
    samples: int
    """That are timed of a side in a round."""
    costs: dict[str, list[Cost]]
    """By size in words, or `auto`."""
    chosen: list[int]
    """Sizes that auto took, by round."""
    search_seconds: list[float]
    """What finding them took."""

    @property
    def rates(self) -> dict[str, list[float]]:
        """Samples a second of each side and round."""
        return {side: [self.samples / seconds for seconds in wall(costs)] for side, costs in self.costs.items()}

    @property
    def best(self) -> str:
        """The fixed size with the most samples a second."""
        medians = {side: statistics.median(rates) for side, rates in self.rates.items() if side != AUTO}
        return max(medians, key=medians.__getitem__)

    def ratios(self, name: str) -> list[Ratio]:
        """Return auto's samples a second over those of the best fixed size, and the seconds that it took to get there."""
        ones = [1.0] * len(self.search_seconds)
        return [
            Ratio.of(f"{name}: auto over best fixed", self.rates[AUTO], self.rates[self.best], at_least=TARGET),
            Ratio.of(f"{name}: seconds of the search", self.search_seconds, ones),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return what was found as plain values."""
        return {**asdict(self), "best": self.best, "samples_per_second": self.rates}


class SteadyClock(Observer):
    """Reads the clock at the end of each step, from the first steady one on."""

    def __init__(self) -> None:
        self._clock = Clock()
        self.cost = self._clock.read()

    def on_step(self, event: StepEnd) -> None:
        """Note what the steady steps have taken so far."""
        if event.step <= WARM_STEPS:
            self._clock.restart()
        self.cost = self._clock.read()


def make_recipe() -> Recipe:
    """Return the default recipe with an epoch of its longest stage."""
    recipe = TrainingConfig().make_recipe()
    longest = max(recipe.stages, key=lambda stage: stage.epochs)
    return replace(recipe, stages=(replace(longest, epochs=1),)).resolve(1, "no")


def powers_of_two(most: int) -> list[int]:
    """Return 1, 2, 4, ... up to `most`.

    >>> powers_of_two(10)
    [1, 2, 4, 8]
    """
    return [1 << exponent for exponent in range(most.bit_length())]


def measure(case: Case) -> Found:
    """Train with each size in turn and with auto, in this process."""
    torch.set_num_threads(case.threads)
    recipe = make_recipe()
    batch = recipe.resolved.global_batch_size
    clips = sign_loops.whole_batches(sign_loops.default_clips(), batch, at_most=WARM_STEPS + case.num_batches)
    task = SignTask(clips.data, case.model)
    chosen: list[int] = []
    search_seconds: list[float] = []
    find = SizeSearch.find

    def timed_find(search: SizeSearch, stage: Stage) -> tuple[int, int | None, str]:
        started = time.perf_counter()
        found = find(search, stage)
        search_seconds.append(time.perf_counter() - started)
        chosen.append(found[0])
        return found

    def side(size: int | None) -> Cost:
        clock = SteadyClock()
        plan = replace(Plan.alone(), micro_batch_size=size, threads_per_process=case.threads)
        with (
            tempfile.TemporaryDirectory() as cache,
            patch.dict(os.environ, XDG_CACHE_HOME=cache),
            patch.object(SizeSearch, "find", timed_find),
        ):
            Trainer(task=task, recipe=recipe, plan=plan, runtime=Runtime(ranks=Ranks.alone(), observer=clock)).run()
        return clock.cost

    sides: dict[str, Callable[[], Cost]] = {str(size): partial(side, size) for size in powers_of_two(batch)}
    costs = in_turn({**sides, AUTO: partial(side, None)}, case.rounds, warms_up=False)
    return Found(
        case=case,
        samples=case.num_batches * batch,
        costs=costs,
        chosen=chosen,
        search_seconds=search_seconds,
    )


def draw(found: dict[str, Found]) -> Table:
    """Return a row for each case: samples a second by size, and what auto did."""
    sizes = sorted({int(side) for of_case in found.values() for side in of_case.costs if side != AUTO})
    table = Table(title="Samples a second by micro-batch size: medians", title_justify="left")
    table.add_column("case", no_wrap=True)
    for column in (*map(str, sizes), AUTO, "it took", "search"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, of_case in found.items():
        medians = [f"{statistics.median(of_case.rates[side]):.0f}" for side in (*map(str, sizes), AUTO)]
        taken = "/".join(map(str, sorted(set(of_case.chosen))))
        table.add_row(name, *medians, taken, f"{statistics.median(of_case.search_seconds):.1f} s")
    return table


def cases(threads: Sequence[int], *, rounds: int, quick: bool) -> dict[str, Case]:
    """Return what is compared: the default model on each number of threads, the larger one on the last of them.

    In the short form only the default model on the last.
    """
    words = {count: f"{count} thread{'s' if count > 1 else ''}" for count in threads}
    last = threads[-1]
    if quick:
        return {f"default model, {words[last]}": Case(model=ModelSpec(), threads=last, num_batches=2, rounds=1)}
    default = {
        f"default model, {words[count]}": Case(model=ModelSpec(), threads=count, num_batches=6, rounds=rounds)
        for count in threads
    }
    larger = Case(model=LARGER, threads=last, num_batches=3, rounds=rounds)
    return {**default, f"larger model, {words[last]}": larger}


def main() -> int:
    """Measure, print the tables, write the figures, and return 1 where the target is missed."""
    parser = option_parser(__doc__)
    parser.add_argument("--threads", type=int, help="of the process [one, and as many as a run takes]")
    options = parser.parse_args()
    DeviceManager.optimize_for_device("cpu")
    threads = [options.threads] if options.threads else sorted({1, torch.get_num_threads()})
    found = {name: measure(case) for name, case in cases(threads, rounds=options.rounds, quick=options.quick).items()}
    console().print(draw(found))
    ratios = [ratio for name, of_case in found.items() for ratio in of_case.ratios(name)]
    figures = {name: of_case.as_dict() for name, of_case in found.items()}
    return finish("micro_batch", ratios, quick=options.quick, figures=figures)


if __name__ == "__main__":
    sys.exit(main())

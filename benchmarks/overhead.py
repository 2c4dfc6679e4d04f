"""The loop's own cost: CPU time per optimizer step on a tiny model, against a loop by hand and against other libraries.

Every loop has a process of its own, with its imports done, and one thread; every round runs all of them, in turn. A step's
cost is that of a long run less that of a short one, so that what a library does once does not count. Slipway has its journal
and its progress lines on, the others have theirs off. Before the first round all loops train on the same samples in the same
order, and must reach the same weights.

    python -m benchmarks.overhead [--rounds 7] [--steps 2000] [--quick]
"""

from __future__ import annotations

import statistics
import sys
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial

import torch
from rich.table import Table

from benchmarks.measure import Cost, Ratio, console, cpu, finish, in_turn, option_parser, wall
from benchmarks.peers import BATCH_SIZE, LOOPS, available_loops
from benchmarks.workers import Worker

TARGETS = {"plain PyTorch": 0.8, "Accelerate": 0.6}
"""Of CPU time per step; the others' is 1."""

SAME_WEIGHTS = 1e-5
CHECKED_STEPS, SHORT_STEPS = 60, 100


def cost_per_step(worker: Worker, steps: int) -> Cost:
    """Return what one step costs: a run of `steps` more than a short one, less that short one."""
    short, long = (worker.ask({"steps": count, "ordered": False}) for count in (SHORT_STEPS, SHORT_STEPS + steps))
    return Cost(
        wall_seconds=(long["wall_seconds"] - short["wall_seconds"]) / steps,
        cpu_seconds=(long["cpu_seconds"] - short["cpu_seconds"]) / steps,
    )


def differences(workers: dict[str, Worker]) -> dict[str, float]:
    """Return max|a - b| / max|w| of each loop's weights from plain PyTorch's, after the same samples in the same order."""
    request = {"steps": CHECKED_STEPS, "ordered": True}
    weights = {name: torch.tensor(worker.ask(request)["weights"]) for name, worker in workers.items()}
    plain = weights["plain PyTorch"]
    return {name: float((found - plain).abs().max() / plain.abs().max()) for name, found in weights.items()}


def draw(costs: dict[str, list[Cost]], different: dict[str, float], rounds: int) -> Table:
    """Return a row for each loop."""
    table = Table(title=f"A step of a tiny MLP, batch {BATCH_SIZE}: medians of {rounds}", title_justify="left")
    table.add_column("loop", no_wrap=True)
    for column in ("CPU microseconds", "wall microseconds", "CPU, of plain PyTorch", "difference of weights"):
        table.add_column(column, justify="right")
    for name, found in costs.items():
        table.add_row(
            name,
            f"{statistics.median(cpu(found)) * 1e6:.0f}",
            f"{statistics.median(wall(found)) * 1e6:.0f}",
            f"{Ratio.of(name, cpu(found), cpu(costs['plain PyTorch'])).value:.2f}",
            f"{different[name]:.0e}",
        )
    return table


def compare(costs: dict[str, list[Cost]], different: dict[str, float]) -> list[Ratio]:
    """Return Slipway's cost over each other loop's, and how far the weights are apart."""
    ours = costs["Slipway"]
    ratios = []
    for name, theirs in costs.items():
        if name != "Slipway":
            ratios.append(Ratio.of(f"CPU time a step, of {name}", cpu(ours), cpu(theirs), at_most=TARGETS.get(name, 1)))
            ratios.append(Ratio.of(f"wall time a step, of {name}", wall(ours), wall(theirs)))
    worst = max(different.values())
    return [*ratios, Ratio.single("largest difference of weights", worst, at_most=SAME_WEIGHTS)]


def main() -> int:
    """Measure, print the tables, write the figures, and return 1 where a target is missed."""
    parser = option_parser(__doc__, rounds=7)
    parser.add_argument("--steps", type=int, default=2000, help="steps whose cost is taken [2000]")
    options = parser.parse_args()
    rounds, steps = (1, 200) if options.quick else (options.rounds, options.steps)
    names = available_loops()
    absent = [name for name in LOOPS if name not in names]
    if absent:
        console().print(f"not installed, so not measured: {', '.join(absent)}; `make bench` installs them")
    with ExitStack() as stack:
        one_thread = {"OMP_NUM_THREADS": "1"}
        workers = {name: stack.enter_context(Worker("benchmarks.peers", [name], one_thread)) for name in names}
        different = differences(workers)
        costs = in_turn({name: partial(cost_per_step, worker, steps) for name, worker in workers.items()}, rounds)
    console().print(draw(costs, different, rounds))
    figures = {"rounds": rounds, "steps": steps, "batch_size": BATCH_SIZE, "differences": different}
    per_step = {name: [asdict(cost) for cost in found] for name, found in costs.items()}
    return finish("overhead", compare(costs, different), quick=options.quick, figures={**figures, "per_step": per_step})


if __name__ == "__main__":
    sys.exit(main())

"""How many processes pay: a model of the step time, compared with real runs of 1 to 4 processes, and tables up to 4096.

    python -m benchmarks.scale [--rounds 3] [--quick]
    python -m benchmarks.scale --parameters 85e6 --batch-size 2048 --sample-seconds 7e-4 [--fixed-seconds 0.003] [--overlap]

The second form measures nothing: it answers for a model of yours.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import nn

from benchmarks.measure import Ratio, console, finish, option_parser
from benchmarks.process_groups import import_once, in_process_group, start_rank, write_result
from benchmarks.scale_model import Link, Network, Step, Workload, efficiency, most_useful, predict
from benchmarks.slipway_side import train_with_slipway
from slipway.training.config.plan import Plan
from slipway.training.devices.ranks import Ranks
from slipway.training.devices.world import leave_group
from slipway.training.observers.events import Observer, StepEnd
from slipway.training.run.training_config import TrainingConfig
from slipway.training.step.placement import settle_bucket_bytes
from slipway.training.tasks.tensors import TensorTask

COUNTS = (8, 64, 512, 4096)
BATCH_SIZE, NUM_FEATURES, NUM_CLASSES = 96, 64, 10
WIDTHS = {"MLP of 0.3 million": 512, "MLP of 8 million": 2816}
_STEPS = {"MLP of 0.3 million": 40, "MLP of 8 million": 8}
_WARM_UP = 4
_SMALL, _LARGE = 4 << 10, 32 << 20
"""Bytes of the all-reduces that give latency and bandwidth."""

TEN_GIGABIT = Network(
    # 1448 of the 1538 bytes that a full frame takes are data; 30 us from one program to another over TCP are an assumption.
    name="10 Gb Ethernet, Gloo",
    link=Link(latency_seconds=30e-6, bytes_per_second=10e9 / 8 * 1448 / 1538),
)
HUNDRED_GIGABIT = Network(
    # 9.6 us: what NCCL reckons with for a hop of a ring (`hwLat` of its src/graph/tuning.cc); 0.92 is assumed.
    name="100 Gb Ethernet, NCCL",
    link=Link(latency_seconds=9.6e-6, bytes_per_second=100e9 / 8 * 0.92),
    algorithms=("ring", "double tree"),
)
INFINIBAND = Network(
    # NVLink 4: 450 GB/s each way (H100 data sheet), of which 0.8 are assumed; 3.4 us a hop (tuning.cc). 400 Gb: 44 GB/s, as
    # measured with NCCL (fridayswithfaraday.com, "nvidia-dynamo-network-optimization").
    name="NVLink, 400 Gb InfiniBand",
    link=Link(latency_seconds=9.6e-6, bytes_per_second=44e9),
    algorithms=("ring", "double tree"),
    processes_per_host=8,
    local=Link(latency_seconds=3.4e-6, bytes_per_second=360e9),
)
NETWORKS = (TEN_GIGABIT, HUNDRED_GIGABIT, INFINIBAND)


def count_buckets(gradient_bytes: float) -> int:
    """Return in how many buckets the run would reduce the matrices of a model."""
    model = nn.Module()
    model.weight = nn.Parameter(torch.empty(int(gradient_bytes) // 4, device="meta"))
    size = settle_bucket_bytes(replace(Plan.alone(), reduction="overlap"), model).bucket_bytes
    assert size is not None
    return max(1, int(gradient_bytes) // size)


def assumed_workload(name: str, parameters: float, batch_size: int, tokens: int, micro_batch_size: int) -> Workload:
    """Return a transformer on an H100: 0.4 of its 989e12 operations a second in bf16, six a parameter and token.

    AdamW in float32 moves 28 bytes a parameter at 0.7 of 3.35e12 bytes a second; 2 ms are the rest of a step that does not
    shrink. Step times spread by 2 %.
    """
    return Workload(
        name=name,
        gradient_bytes=4 * parameters,
        batch_size=batch_size,
        fixed_seconds=2e-3 + 28 * parameters / (0.7 * 3.35e12),
        sample_seconds=6 * parameters * tokens / (0.4 * 989e12),
        spread=0.02,
        num_buckets=count_buckets(4 * parameters),
        micro_batch_size=micro_batch_size,
    )


ASSUMED = (
    ("85 million, H100, 512 tokens", 85e6, 2048, 512, 64),
    ("1.3 billion, H100, 2048 tokens", 1.3e9, 1024, 2048, 8),
)


class _StepClock(Observer):
    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step(self, event: StepEnd) -> None:
        """Note when the step ended."""
        self.times.append(time.perf_counter())


def time_steps(width: int, batch_size: int, steps: int, ranks: Ranks) -> list[float]:
    """Return the seconds of each step of a training after the first ones."""
    random = np.random.default_rng(0)
    num_samples = batch_size * (steps + _WARM_UP)
    inputs = torch.from_numpy(random.standard_normal((num_samples, NUM_FEATURES), dtype=np.float32))
    labels = torch.from_numpy(random.integers(0, NUM_CLASSES, num_samples))
    layers = [nn.Linear(NUM_FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    task = TensorTask(
        lambda: nn.Sequential(*layers, nn.Linear(width, NUM_CLASSES)),
        {"train": (inputs, labels)},
        keyed_randomness=True,
    )
    recipe = TrainingConfig(stages_config="minimal", epochs=1, batch_size=batch_size).make_recipe().resolve(1, "no")
    plan = replace(Plan.alone(), world_size=ranks.size, share_weights=(1.0,) * ranks.size, micro_batch_size=batch_size)
    clock = _StepClock()
    train_with_slipway(task, recipe, plan, ranks, observers=[clock])
    return np.diff(clock.times)[_WARM_UP - 1 :].tolist()


def time_all_reduce(num_bytes: int, ranks: Ranks) -> float:
    """Return the median seconds of an all-reduce."""
    buffer, seconds = torch.zeros(num_bytes // 4), []
    for _ in range(12):
        ranks.barrier()
        started = time.perf_counter()
        ranks.sum_(buffer)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[2:])


def measure_rank(rank: int, world_size: int, port: int, output: str, shorten: int) -> None:
    """Measure on this rank what one round of this world can tell."""
    ranks = start_rank(rank, world_size, port)
    found: dict[str, Any] = {"steps": {}, "shares": {}, "beside": {}}
    for name, width in WIDTHS.items():
        steps = _STEPS[name] // shorten
        found["steps"][name] = time_steps(width, BATCH_SIZE, steps, ranks)
        if world_size == 1:
            shares = [BATCH_SIZE // count for count in (1, 2, 3, 4)]
            found["shares"][name] = {
                share: statistics.median(time_steps(width, share, steps, ranks)) for share in shares
            }
        if world_size == 2:
            ranks.barrier()
            alone = Ranks.alone()
            found["beside"][name] = statistics.median(time_steps(width, BATCH_SIZE // 2, steps, alone))
            ranks.barrier()
    if world_size > 1:
        found["all_reduce"] = {size: time_all_reduce(size, ranks) for size in (_SMALL, _LARGE)}
    write_result(output, found, ranks)
    leave_group()


def middle(rounds: Sequence[Any], *keys: str) -> float:
    """Return the median over the rounds of what lies at `keys`."""
    values = []
    for found in rounds:
        for key in keys:
            found = found[key]
        values.append(statistics.median(found) if isinstance(found, list) else found)
    return statistics.median(values)


def fit_workload(name: str, alone: Sequence[Any]) -> Workload:
    """Return the model of a step from one process: a line through its times at four shares, and their spread."""
    width = WIDTHS[name]
    shares = sorted(int(share) for share in alone[0]["shares"][name])
    times = [middle(alone, "shares", name, str(share)) for share in shares]
    slope, fixed = np.polyfit(shares, times, 1)
    spreads = [
        (np.percentile(found["steps"][name], 84) - np.percentile(found["steps"][name], 16)) / 2 for found in alone
    ]
    parameters = NUM_FEATURES * width + width + width * width + width + width * NUM_CLASSES + NUM_CLASSES
    return Workload(
        name=name,
        gradient_bytes=4 * parameters,
        batch_size=BATCH_SIZE,
        fixed_seconds=max(0.0, float(fixed)),
        sample_seconds=float(slope),
        spread=float(statistics.median(spreads)) / middle(alone, "steps", name),
    )


def fit_loopback(pairs: Sequence[Any]) -> Network:
    """Return the link between processes of this machine, from all-reduces of two: 2 alpha + n beta."""
    small, large = (middle(pairs, "all_reduce", str(size)) for size in (_SMALL, _LARGE))
    link = Link(latency_seconds=small / 2, bytes_per_second=(_LARGE - _SMALL) / max(large - small, 1e-9))
    return Network(name="this machine", link=link)


def compare(worlds: dict[int, list[Any]], cores: int) -> tuple[list[Workload], list[dict[str, Any]], Network]:
    """Return the fitted workloads, what each world was predicted and measured to take, and the link of this machine.

    Two processes beside each other slow each other down by what was measured without any communication; more than there are
    cores take turns.
    """
    network = fit_loopback(worlds[2])
    workloads, rows = [], []
    for name in WIDTHS:
        workload = fit_workload(name, worlds[1])
        workloads.append(workload)
        own = middle(worlds[1], "shares", name, str(BATCH_SIZE // 2))
        # With a core each, neither is slower than if they took turns on one.
        beside = min(2.0, max(1.0, middle(worlds[2], "beside", name) / own))
        for count, rounds in worlds.items():
            turns = max(1.0, count / cores)
            step = predict(
                workload,
                network,
                count,
                compute_slowdown=turns * (beside if count > 1 else 1.0),
                communication_slowdown=turns,
            )
            of_rounds = [statistics.median(found["steps"][name]) for found in rounds]
            measured = statistics.median(of_rounds)
            rows.append(
                {
                    "model": name,
                    "processes": count,
                    "predicted_seconds": step.total,
                    "parts": asdict(step),
                    "measured_seconds": measured,
                    "measured_rounds": of_rounds,
                    "error_percent": 100 * (step.total / measured - 1),
                }
            )
    return workloads, rows, network


def draw_comparison(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the table of what was predicted and measured."""
    table = Table(title="A step on this machine, in ms", title_justify="left")
    for column in ("model", "processes", "predicted", "measured", "of the rounds", "error"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in rows:
        spread = f"{min(row['measured_rounds']) * 1e3:.1f} to {max(row['measured_rounds']) * 1e3:.1f}"
        figures = [f"{row[key] * 1e3:.1f}" for key in ("predicted_seconds", "measured_seconds")]
        table.add_row(row["model"], str(row["processes"]), *figures, spread, f"{row['error_percent']:+.0f} %")
    return table


def reach(workload: Workload, network: Network) -> dict[str, Any]:
    """Return what a workload gains from a network."""
    inside = [count for count in COUNTS if count <= workload.batch_size]
    steps: dict[int, Step] = {count: predict(workload, network, count) for count in inside}
    return {
        "model": workload.name,
        "network": network.name,
        "batch_size": workload.batch_size,
        "alone_seconds": predict(workload, network, 1).total,
        "steps": {count: asdict(step) for count, step in steps.items()},
        "step_seconds": {count: step.total for count, step in steps.items()},
        "efficiency": {count: efficiency(workload, network, count) for count in inside},
        "most_useful": most_useful(workload, network),
    }


def draw_reach(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the table of many processes: milliseconds a step, and how much of the processes' speed is used."""
    table = Table(title="ms a step (efficiency); -: more processes than samples in a batch", title_justify="left")
    for column in ("model", "network", "batch", "1", *map(str, COUNTS), "useful up to"):
        table.add_column(column, justify="left" if column in ("model", "network") else "right")
    for row in rows:
        cells = [
            f"{row['step_seconds'][count] * 1e3:.3g} ({100 * row['efficiency'][count]:.0f} %)"
            if count in row["step_seconds"]
            else "-"
            for count in COUNTS
        ]
        ends = " (samples)" if row["most_useful"] == row["batch_size"] else ""
        alone = f"{row['alone_seconds'] * 1e3:.3g}"
        table.add_row(
            row["model"], row["network"], str(row["batch_size"]), alone, *cells, f"{row['most_useful']}{ends}"
        )
    return table


def main() -> int:
    """Measure, compare, print the tables and write the figures; or answer for one model."""
    parser = option_parser(__doc__, rounds=3)
    parser.add_argument("--parameters", type=float, help="of a model to answer for, without measuring")
    parser.add_argument("--batch-size", type=int, default=256, help="its global batch [256]")
    parser.add_argument("--sample-seconds", type=float, help="what a sample takes, forward and backward")
    parser.add_argument("--fixed-seconds", type=float, default=0.0, help="what a step takes beside its samples [0]")
    parser.add_argument("--spread", type=float, default=0.02, help="of the step times, of their mean [0.02]")
    parser.add_argument("--overlap", action="store_true", help="reduce during the backward pass, as on a GPU")
    options = parser.parse_args()
    if options.parameters is not None:
        if options.sample_seconds is None:
            parser.error("--parameters: give --sample-seconds too, the seconds of a sample on one process")
        num_bytes = 4 * options.parameters
        own = Workload(
            name="your model",
            gradient_bytes=num_bytes,
            batch_size=options.batch_size,
            fixed_seconds=options.fixed_seconds,
            sample_seconds=options.sample_seconds,
            spread=options.spread,
            num_buckets=count_buckets(num_bytes) if options.overlap else None,
        )
        console().print(draw_reach([reach(own, network) for network in NETWORKS]))
        return 0
    import_once("benchmarks.slipway_side")
    worlds: dict[int, list[Any]] = {count: [] for count in (1, 2, 3, 4)}
    for _ in range(1 if options.quick else options.rounds):
        for count, found in worlds.items():
            found.append(in_process_group(measure_rank, count, 4 if options.quick else 1))
    workloads, rows, loopback = compare(worlds, len(os.sched_getaffinity(0)))
    ranks_command = [sys.executable, "-m", "benchmarks.virtual_ranks", "--every", "512" if options.quick else "64"]
    virtual = json.loads(subprocess.run(ranks_command, capture_output=True, text=True, check=True).stdout)
    tables = [reach(workload, TEN_GIGABIT) for workload in workloads]
    tables += [reach(assumed_workload(*one), network) for one in ASSUMED for network in NETWORKS]
    console().print(draw_comparison(rows))
    console().print(draw_reach(tables))
    errors = [abs(row["error_percent"]) for row in rows]
    ratios = [
        Ratio.of("error of the model, in per cent", errors, [1.0] * len(errors)),
        Ratio.single("bytes for order, shares and cursor of 4096 ranks", virtual["peak_bytes"], at_most=200e6),
    ]
    figures = {
        "predicted_and_measured": rows,
        "workloads": [asdict(workload) for workload in workloads],
        "link": asdict(loopback.link),
        "networks": [asdict(network) for network in NETWORKS],
        "tables": tables,
        "virtual_ranks": virtual,
    }
    return finish("scale", ratios, quick=options.quick, figures=figures)


if __name__ == "__main__":
    sys.exit(main())

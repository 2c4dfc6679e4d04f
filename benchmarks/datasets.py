"""A data set written in Python, and an optimizer of torch: Slipway beside a plain PyTorch loop with a `DataLoader`.

The data sets are heavy (about 1 ms of NumPy for a sample) and light (about 20 microseconds); both sides read them with 0, 1
and 2 workers, and train the same small model. The optimizer is `torch.optim.AdamW` over a larger model on tensors. Each side
has a process of its own with one thread; a figure is that of a long run less that of a short one, so that what a side does
once, such as starting workers, does not count.

    python -m benchmarks.datasets [--rounds 7] [--quick]
    python -m benchmarks.datasets --side NAME      answers requests on stdin
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.measure import Clock, Cost, Ratio, console, cpu, finish, in_turn, option_parser, wall
from benchmarks.workers import Worker, serve
from slipway import DatasetTask, TrainingConfig, train

PLAIN, SLIPWAY = "plain PyTorch", "Slipway"
BATCH, RATE, INPUTS, CLASSES = 32, 1e-3, 64, 8
WORKERS = (0, 1, 2)

SAMPLES = {"heavy": 512, "light": 8192, "optimizer": 2048}
HEAVY_SIZE = 64
"""Of square matrices, of which 48 products and tangents are about a millisecond of one core."""

LIGHT_CALLS = 56
"""Of NumPy on a sample of 64 numbers: about 20 microseconds."""


class Drawn(Dataset[tuple[torch.Tensor, int]]):
    """Samples made in Python, as data sets of files are: read, changed at random, made a tensor."""

    def __init__(self, kind: str) -> None:
        self.kind, self.values = kind, np.random.default_rng(0).normal(size=(SAMPLES[kind], INPUTS)).astype(np.float32)
        self.matrix = np.random.default_rng(1).normal(size=(HEAVY_SIZE, HEAVY_SIZE)) / HEAVY_SIZE

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        value = self.values[index] + 0.01 * np.float32(np.random.random())
        if self.kind == "heavy":
            made = self.matrix
            for _ in range(48):
                made = np.tanh(made @ self.matrix)
            value = value + np.float32(made[0, 0])
        else:
            for _ in range(LIGHT_CALLS):
                value = np.tanh(value)
        return torch.from_numpy(value), index % CLASSES


def make_model(width: int) -> nn.Module:
    """Return a multilayer perceptron."""
    return nn.Sequential(
        nn.Linear(INPUTS, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, CLASSES)
    )


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and classes for the comparison of optimizers."""
    inputs = torch.from_numpy(np.random.default_rng(0).normal(size=(SAMPLES["optimizer"], INPUTS)).astype(np.float32))
    return inputs, torch.arange(len(inputs)) % CLASSES


def train_plain(kind: str, workers: int, epochs: int) -> Cost:
    """Train by a loop as people write it."""
    torch.manual_seed(0)
    model = make_model(512 if kind == "optimizer" else 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    clock = Clock()
    if kind == "optimizer":
        inputs, labels = tensors()

        def batches() -> Any:
            order = torch.randperm(len(inputs))
            return ((inputs[some], labels[some]) for some in order.split(BATCH))
    else:
        loader = DataLoader(
            Drawn(kind), batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )

        def batches() -> Any:
            return loader

    for _ in range(epochs):
        for x, y in batches():
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return clock.read()


def train_slipway(kind: str, workers: int, epochs: int) -> Cost:
    """Train with Slipway, with its journal and its lines."""
    width, data = (512, tensors()) if kind == "optimizer" else (32, Drawn(kind))
    task = DatasetTask(lambda: make_model(width), data, metrics={})
    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(
            epochs=epochs,
            batch_size=BATCH,
            learning_rate=RATE,
            num_workers=workers,
            device="cpu",
            runs_dir=folder,
            experiment_name="run",
            save_every="never",
            report=False,  # a process of its own, after the last step
        )
        clock = Clock()
        train(config, task, optimizer=torch.optim.AdamW if kind == "optimizer" else None)
        return clock.read()


SIDES = {PLAIN: train_plain, SLIPWAY: train_slipway}


def cost_per_sample(worker: Worker, kind: str, workers: int, epochs: int) -> Cost:
    """Return what a sample costs: a run of `epochs` more than a short one, less that short one."""
    short, long = (worker.ask({"kind": kind, "workers": workers, "epochs": count}) for count in (1, 1 + epochs))
    samples = epochs * SAMPLES[kind]
    return Cost(**{name: (long[name] - short[name]) / samples for name in ("wall_seconds", "cpu_seconds")})


def draw(costs: dict[str, dict[str, list[Cost]]]) -> Table:
    """Return a row for each comparison."""
    table = Table(title="Microseconds for a sample, medians", title_justify="left")
    for column in ("what", *(f"{side}, {what}" for side in SIDES for what in ("wall", "CPU"))):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, sides in costs.items():
        medians = [statistics.median(of(sides[side])) * 1e6 for side in SIDES for of in (wall, cpu)]
        table.add_row(name, *(f"{value:.0f}" for value in medians))
    return table


def main() -> int:
    """Measure, print the tables, write the figures, and return 1 where a target is missed."""
    parser = option_parser(__doc__, rounds=7)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        torch.set_num_threads(1)
        serve(lambda request: asdict(SIDES[options.side](**request)))
        return 0
    rounds, epochs = (1, 1) if options.quick else (options.rounds, 3)
    costs: dict[str, dict[str, list[Cost]]] = {}
    ratios = []
    with ExitStack() as stack:
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        sides = {
            side: stack.enter_context(Worker("benchmarks.datasets", ["--side", side], one_thread)) for side in SIDES
        }
        for kind in ("heavy", "light"):
            for workers in WORKERS:
                name = f"{kind} samples, {workers} workers"
                turns = {side: partial(cost_per_sample, one, kind, workers, epochs) for side, one in sides.items()}
                costs[name] = in_turn(turns, rounds)
                ratios.append(
                    Ratio.of(f"{name}: samples/s", wall(costs[name][PLAIN]), wall(costs[name][SLIPWAY]), at_least=1.0)
                )
        turns = {side: partial(cost_per_sample, one, "optimizer", 0, 2 * epochs) for side, one in sides.items()}
        costs["torch.optim.AdamW"] = found = in_turn(turns, rounds)
        ratios.append(
            Ratio.of("torch.optim.AdamW: CPU time a step", cpu(found[SLIPWAY]), cpu(found[PLAIN]), at_most=1.05)
        )
        ratios.append(Ratio.of("torch.optim.AdamW: wall time a step", wall(found[SLIPWAY]), wall(found[PLAIN])))
    console().print(draw(costs))
    figures = {
        "rounds": rounds,
        "batch_size": BATCH,
        "samples": SAMPLES,
        "seconds_per_sample": {
            name: {side: [asdict(cost) for cost in rounds_of] for side, rounds_of in found.items()}
            for name, found in costs.items()
        },
    }
    return finish("datasets", ratios, quick=options.quick, figures=figures)


if __name__ == "__main__":
    sys.exit(main())

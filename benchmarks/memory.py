"""Peak memory of a training, each in a fresh process: Slipway against plain PyTorch at the same micro-batch.

Slipway runs as a user starts it, with its run folder and its journal, and both read the same data in the same way. The loop
by hand writes no checkpoint, so Slipway is compared without them; what they add, a copy of weights and optimizer state that
is written while training goes on, is told beside it.

    python -m benchmarks.memory [--rounds 5] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from rich.table import Table

from benchmarks import sign_loops
from benchmarks.measure import Ratio, console, finish, option_parser

TARGET = 1.02
"""Of plain PyTorch's peak."""

BY_HAND, SLIPWAY, WITH_CHECKPOINTS = SIDES = ("plain PyTorch", "Slipway", "Slipway with checkpoints")
BATCH_SIZE = 32
_MOST_STEPS = 8


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained."""

    data: Literal["real", "equal"]
    """Clips of real lengths, or all of 64 frames."""
    width: int


CASES = {
    "default model, real lengths": Case(data="real", width=96),
    "wide model": Case(data="equal", width=384),
}


def peak_bytes() -> int:
    """Return the most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def train(side: str, case: Case) -> None:
    """Train some steps in this process."""
    from slipway.training.devices.ranks import Ranks
    from slipway.training.run.train import train
    from slipway.training.run.training_config import TrainingConfig
    from slipway.training.tasks.sign.options import ModelSpec
    from slipway.training.tasks.sign.task import SignTask

    makers: dict[str, Callable[[], sign_loops.Clips]] = {
        "real": sign_loops.real_clips,
        "equal": partial(sign_loops.equal_clips, 2 * BATCH_SIZE, 64),
    }
    clips = makers[case.data]()
    kept = clips.data.indices["train"][: _MOST_STEPS * BATCH_SIZE]
    clips = replace(clips, data=replace(clips.data, indices={**clips.data.indices, "train": kept}))
    if side == BY_HAND:
        recipe = sign_loops.make_recipe(1, epochs=1, width=case.width)
        sign_loops.train_by_hand(clips, recipe, Ranks.alone())
        return
    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(
            micro_batch_size=BATCH_SIZE,
            max_steps=len(kept) // BATCH_SIZE,
            device="cpu",
            runs_dir=folder,
            save_every="never" if side == SLIPWAY else "10min",
        )
        train(config, SignTask(clips.data, ModelSpec(width=case.width)))


def measure(side: str, case_name: str) -> dict[str, int]:
    """Return the bytes held after the imports and at the peak, of a fresh process."""
    command = [sys.executable, "-m", "benchmarks.memory", "--side", side, "--case", case_name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment
    )
    return json.loads(done.stdout.splitlines()[-1])


def draw(found: dict[str, dict[str, list[dict[str, int]]]]) -> Table:
    """Return a row for each case and side."""
    table = Table(title="Peak memory: medians", title_justify="left")
    for column in ("case", "side", "MB at the peak", "MB of them after the imports"):
        table.add_column(column, justify="right" if column.startswith("MB") else "left")
    for case, sides in found.items():
        for side, rounds in sides.items():
            peak, imported = (statistics.median(r[key] for r in rounds) / 1e6 for key in ("peak_bytes", "import_bytes"))
            table.add_row(case, side, f"{peak:.0f}", f"{imported:.0f}")
    return table


def main() -> int:
    """Measure, print the tables, write the figures, and return 1 where a target is missed."""
    parser = option_parser(__doc__)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        imported = peak_bytes()
        train(options.side, CASES[options.case])
        print(json.dumps({"import_bytes": imported, "peak_bytes": peak_bytes()}))
        return 0
    found: dict[str, dict[str, list[dict[str, int]]]] = {}
    ratios = []
    for name in list(CASES)[:1] if options.quick else CASES:
        found[name] = {side: [] for side in SIDES}
        for _ in range(1 if options.quick else options.rounds):
            # In turn, as everywhere, though memory hardly varies.
            for side in SIDES:
                found[name][side].append(measure(side, name))
        peaks = {side: [float(of_round["peak_bytes"]) for of_round in found[name][side]] for side in SIDES}
        ratios.append(Ratio.of(f"{name}: peak memory", peaks[SLIPWAY], peaks[BY_HAND], at_most=TARGET))
        ratios.append(Ratio.of(f"{name}: with checkpoints", peaks[WITH_CHECKPOINTS], peaks[BY_HAND]))
    console().print(draw(found))
    return finish("memory", ratios, quick=options.quick, figures={"cases": found})


if __name__ == "__main__":
    sys.exit(main())

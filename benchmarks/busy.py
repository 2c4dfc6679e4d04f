"""A training beside busy neighbours: steps/s of a default run against fixed numbers of threads and ways of waiting.

Each side trains the default model on the CPU in a process of its own, a round beside each kind of neighbours in turn. The
neighbours are programs that compute without end, one or two of them, or two that come and go. The fixed settings are those
of a grid: one thread, or one for each core with GNU OpenMP's way of waiting from sleeping soon to its default. The full form
takes some nine minutes.

    python -m benchmarks.busy [--rounds 5] [--seconds 1.5] [--quick]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO

from rich.table import Table
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.measure import Ratio, console, finish, option_parser
from benchmarks.sign_loops import default_clips, make_recipe, train_by_hand
from slipway import Observer, StepEnd, TrainingConfig, train
from slipway.training.devices.ranks import Ranks

SLIPWAY, PLAIN = "Slipway", "plain PyTorch"
_DEFAULT_SPINS = "300000"
GRID: dict[str, dict[str, str]] = {
    "1 thread": {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": _DEFAULT_SPINS},
    "spins 100": {"GOMP_SPINCOUNT": "100"},
    "spins 1,000": {"GOMP_SPINCOUNT": "1000"},
    "spins 300,000": {"GOMP_SPINCOUNT": _DEFAULT_SPINS},
}
"""Fixed settings by name; the last is what GNU OpenMP does by itself."""
_BUSY = """
import os
starter = os.getppid()
while os.getppid() == starter:
    for _ in range(1_000_000): pass
"""
_COMES_AND_GOES = """
import os, random, time
random.seed({seed})
starter = os.getppid()
while os.getppid() == starter:
    end = time.monotonic() + random.uniform(0.5, 3)
    while time.monotonic() < end: pass
    time.sleep(random.uniform(0.5, 3))
"""
_THAT_COME_AND_GO = [_COMES_AND_GOES.format(seed=seed) for seed in range(2)]
NEIGHBOURS: dict[str, list[str]] = {
    "idle": [],
    "1 neighbour": [_BUSY],
    "2 neighbours": [_BUSY] * 2,
    "2 that come and go": _THAT_COME_AND_GO,
}
BEST_SHARE, IDLE_SHARE, OF_PLAIN = 0.9, 0.97, 5.0
"""Of the best of the grid; of it on an idle machine; of plain PyTorch beside two neighbours."""
_VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "MKL_NUM_THREADS")
_MANY_EPOCHS = 100_000
_STEPS_PER_EPOCH = 69
_BEFORE_SECONDS = 1.0
"""From the start of the neighbours until steps are counted."""


class _Count(Observer):
    """Trains undisturbed for some steps; then, for each number of seconds that it reads, counts steps and prints their rate."""

    _UNDISTURBED_STEPS = 10

    def __init__(self) -> None:
        self._steps, self._before = 0, 0.0
        self._asked: float | None = None
        self._counted, self._spent = 0, 0.0

    def on_step(self, event: StepEnd) -> None:
        self.count()

    def count(self) -> None:
        """Count a step; what lies between two epochs, such as an evaluation, is not counted."""
        now = time.perf_counter()
        if self._asked is None:
            if self._steps == self._UNDISTURBED_STEPS:
                self._wait("ready")
        elif now >= self._begin and self._steps % _STEPS_PER_EPOCH and self._before >= self._begin:
            self._counted += 1
            self._spent += now - self._before
            if self._spent >= self._asked:
                self._wait(f"rate {self._counted / self._spent}")
        self._steps += 1
        self._before = time.perf_counter()

    def _wait(self, said: str) -> None:
        print(said, flush=True)
        asked = sys.stdin.readline()
        if not asked:
            os._exit(0)
        self._asked, self._begin = float(asked), time.perf_counter() + _BEFORE_SECONDS
        self._counted, self._spent = 0, 0.0


def run_side(side: str) -> None:
    """Train without end; the process ends with its standard input."""
    count = _Count()
    if side == PLAIN:
        register_optimizer_step_post_hook(lambda *_: count.count())
        train_by_hand(default_clips(), make_recipe(1, epochs=_MANY_EPOCHS), Ranks.alone())
        return
    with tempfile.TemporaryDirectory() as folder:
        config = TrainingConfig(device="cpu", stages_config="minimal", epochs=_MANY_EPOCHS, runs_dir=folder)
        train(config, observers=[count])


@contextmanager
def neighbours(programs: Sequence[str]) -> Iterator[None]:
    """Let programs run within the block."""
    started = [subprocess.Popen([sys.executable, "-c", program]) for program in programs]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def measure(side: str, seconds: float, settings: Mapping[str, str]) -> dict[str, float]:
    """Return the steps/s of one side beside each kind of neighbours, one after the other, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
    command = [sys.executable, "-m", "benchmarks.busy", "--side", side]
    found = {}
    with subprocess.Popen(
        command,
        env={**environment, **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _read(process.stdout, "ready")
            for case, programs in NEIGHBOURS.items():
                with neighbours(programs):
                    # Neighbours that come and go do so within some seconds.
                    print(seconds * (2 if programs == _THAT_COME_AND_GO else 1), file=process.stdin, flush=True)
                    found[case] = float(_read(process.stdout, "rate ").split()[1])
        finally:
            process.kill()
    return found


def _read(output: IO[str], begin: str) -> str:
    """Return the next line that begins so; what the training prints is passed over."""
    for line in output:
        if line.startswith(begin):
            return line
    raise SystemExit("a side ended before it was measured")


def draw(found: Mapping[str, Mapping[str, Sequence[float]]]) -> Table:
    """Return a row for each side, a column for each kind of neighbours."""
    table = Table(title="Steps/s beside neighbours: medians", title_justify="left")
    table.add_column("", no_wrap=True)
    for case in found:
        table.add_column(case, justify="right")
    for side in (SLIPWAY, *GRID, PLAIN):
        table.add_row(side, *(f"{statistics.median(rates[side]):.1f}" for rates in found.values()))
    return table


def ratios_of(found: Mapping[str, Mapping[str, Sequence[float]]]) -> list[Ratio]:
    """Return the rates of a default run over those of the best fixed setting, and over plain PyTorch's."""
    ratios = []
    for case, rates in found.items():
        best = max(GRID, key=lambda name: statistics.median(rates[name]))
        target = IDLE_SHARE if case == "idle" else BEST_SHARE
        ratios.append(Ratio.of(f"{case}: of the best fixed ({best})", rates[SLIPWAY], rates[best], at_least=target))
        of_plain = OF_PLAIN if case == "2 neighbours" else None
        ratios.append(Ratio.of(f"{case}: of plain PyTorch", rates[SLIPWAY], rates[PLAIN], at_least=of_plain))
    return ratios


def main() -> int:
    """Measure, print the tables, write the figures, and return 1 where a target is missed."""
    parser = option_parser(__doc__)
    parser.add_argument(
        "--seconds",
        type=float,
        default=1.5,
        help="that steps are counted for, twice as long beside neighbours that come and go [1.5]",
    )
    parser.add_argument("--side", choices=(SLIPWAY, PLAIN), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        run_side(options.side)
        return 0
    rounds, seconds = (1, 0.5) if options.quick else (options.rounds, options.seconds)
    sides: dict[str, tuple[str, dict[str, str]]] = {
        SLIPWAY: (SLIPWAY, {}),
        **{name: (SLIPWAY, settings) for name, settings in GRID.items()},
        PLAIN: (PLAIN, {}),
    }
    found: dict[str, dict[str, list[float]]] = {case: {name: [] for name in sides} for case in NEIGHBOURS}
    names = list(sides)
    for number in range(rounds):
        first = number % len(names)  # another side begins each round
        for name in names[first:] + names[:first]:
            for case, rate in measure(sides[name][0], seconds, sides[name][1]).items():
                found[case][name].append(rate)
    console().print(draw(found))
    return finish("busy", ratios_of(found), quick=options.quick, figures={"steps_per_second": found})


if __name__ == "__main__":
    sys.exit(main())

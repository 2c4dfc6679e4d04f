"""What a report and a tracker cost a training: the same training of a tiny MLP, with and without them, in turn.

Each run is a process of its own through the public `train`, with its journal and its lines of progress. Measured are its steps,
from the start of the stage to the end of the last epoch, by wall time and by the CPU time of the training's process. A tracker
is fed by another process. The last side has a tracker, MLflow, whose server takes connections and never answers; it is left
out where MLflow is not installed. All sides must end with the same weights, bit for bit.

    python -m benchmarks.watched [--rounds 5] [--steps 20000] [--quick]
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from benchmarks.measure import Clock, Cost, Ratio, console, cpu, finish, in_turn, option_parser, wall
from benchmarks.peers import BATCH_SIZE, make_data, make_model
from slipway import Observer, TensorTask, TrainingConfig, train
from slipway.training.observers.events import EpochEnd, StageStart

AT_MOST = 1.02
EPOCHS = 4
SIDES: dict[str, dict[str, Any]] = {
    "journal": {"report": False},
    "journal, report": {},
    "journal, report, TensorBoard": {"tracker": "tensorboard"},
    "journal, report, MLflow that hangs": {"tracker": "mlflow"},
}
"""By name: options of the run."""
BEFORE = "journal"


class _Steps(Observer):
    """Reads the clock from the start of the stage to the end of each epoch."""

    def __init__(self) -> None:
        self._clock = Clock()
        self.cost = self._clock.read()

    def on_stage_start(self, event: StageStart) -> None:
        """Begin."""
        self._clock.restart()

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Note what the stage has taken so far."""
        self.cost = self._clock.read()


def train_here(options: dict[str, Any], steps: int, folder: Path) -> dict[str, Any]:
    """Train for that many steps; return the cost and the sum of each weight's bits."""
    torch.set_num_threads(1)
    clock = _Steps()
    config = TrainingConfig(
        stages_config="minimal", epochs=EPOCHS, batch_size=BATCH_SIZE, runs_dir=str(folder), threads=1, **options
    )
    result = train(config, TensorTask(make_model, {"train": make_data(steps // EPOCHS)}), [clock])
    assert result.model is not None
    weights = torch.cat([weight.detach().flatten() for weight in result.model.parameters()])
    bits = int(weights.view(torch.int32).to(torch.int64).sum())
    return {"wall_seconds": clock.cost.wall_seconds, "cpu_seconds": clock.cost.cpu_seconds, "bits": bits}


def run_side(name: str, steps: int, server: str, bits: dict[str, int]) -> Cost:
    """Run one side in a process of its own; note its weights in `bits`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "benchmarks.watched",
            "--side",
            name,
            "--steps",
            str(steps),
            "--folder",
            folder,
        ]
        environment = {**os.environ, "MLFLOW_TRACKING_URI": server}
        done = subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, env=environment)
    answer = json.loads(done.stdout.splitlines()[-1])
    bits[name] = answer["bits"]
    return Cost(wall_seconds=answer["wall_seconds"], cpu_seconds=answer["cpu_seconds"])


def serve_nothing() -> str:
    """Take connections on loopback and never answer; return the address."""
    listening = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def take() -> None:
        while True:
            taken.append(listening.accept()[0])

    threading.Thread(target=take, daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


def main() -> int:
    """Measure the sides in turn; return 1 if a target is missed."""
    parser = option_parser(__doc__)
    parser.add_argument("--steps", type=int, default=20_000, help="optimizer steps of a run [20000]")
    parser.add_argument("--side", choices=SIDES, help="train as this side does, in --folder, and print what it took")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(train_here(SIDES[options.side], options.steps, options.folder)))
        return 0
    rounds, steps = (2, 400) if options.quick else (options.rounds, options.steps)
    bits: dict[str, int] = {}
    server = serve_nothing()
    names = [name for name in SIDES if "MLflow" not in name or find_spec("mlflow")]
    costs = in_turn({name: partial(run_side, name, steps, server, bits) for name in names}, rounds, warms_up=False)
    table = Table(title=f"{steps} steps of a tiny MLP, batch {BATCH_SIZE}: medians of {rounds}", title_justify="left")
    for column in ("", "CPU seconds", "wall seconds"):
        table.add_column(column)
    ratios = [Ratio.single("sides that end with other weights", len(set(bits.values())) - 1, at_most=0)]
    for name, found in costs.items():
        middle = [f"{sorted(values)[len(values) // 2]:.2f}" for values in (cpu(found), wall(found))]
        table.add_row(name, *middle)
        if name != BEFORE:
            ratios.append(Ratio.of(f"{name}: wall time of {BEFORE}", wall(found), wall(costs[BEFORE]), at_most=AT_MOST))
            ratios.append(Ratio.of(f"{name}: CPU time of {BEFORE}", cpu(found), cpu(costs[BEFORE]), at_most=AT_MOST))
    console().print(table)
    return finish("watched", ratios, quick=options.quick, figures={"rounds": rounds, "steps": steps}, costs=costs)


if __name__ == "__main__":
    sys.exit(main())

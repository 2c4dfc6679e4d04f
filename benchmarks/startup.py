"""What starting costs: `slipway detect` against an import of torch, `slipway launch` against `accelerate launch`.

Both launchers start the same script, which builds an Accelerator on the CPU, in one process and in two. Every round runs all
of them, in turn. CPU time, of all processes that a command started, stands beside wall time: it is the steadier one.

    python -m benchmarks.startup [--rounds 5] [--quick]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

from rich.table import Table

from benchmarks.measure import Cost, Ratio, console, cost_of_command, cpu, finish, in_turn, option_parser, wall

TARGETS = {"slipway detect": 0.15, "slipway launch": 0.65, "slipway launch, 2 processes": 0.8}
"""Of the wall time of what each is compared with."""

COMPARED = {
    "slipway detect": "import torch",
    "slipway launch": "accelerate launch",
    "slipway launch, 2 processes": "accelerate launch, 2 processes",
}
_SCRIPT = "from accelerate import Accelerator\nAccelerator(cpu=True)\n"
_BARE = ("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0")
_ALONE = ("--cpu", "--num_processes", "1")
_BOTH = ("--multi_gpu", "--num_processes", "2")  # MULTI_CPU starts one process without mpirun


def commands(folder: Path) -> dict[str, list[str]]:
    """Return what is compared, with the script written into `folder`."""
    script = folder / "script.py"
    script.write_text(_SCRIPT, encoding="utf-8")
    slipway = [sys.executable, "-c", "import sys; from slipway.launcher.cli import main; sys.exit(main())"]
    accelerate = [sys.executable, "-m", "accelerate.commands.launch"]
    launch = [*slipway, "launch", "--device", "cpu", "--log-dir", str(folder), "--main-process-port", "0"]
    return {
        "slipway detect": [*slipway, "detect", "--json"],
        "import torch": [sys.executable, "-c", "import torch"],
        "slipway launch": [*launch, "--num-processes", "1", str(script)],
        "accelerate launch": [*accelerate, *_ALONE, *_BARE, str(script)],
        "slipway launch, 2 processes": [*launch, "--num-processes", "2", str(script)],
        "accelerate launch, 2 processes": [*accelerate, *_BOTH, *_BARE, str(script)],
        "plain python": [sys.executable, str(script)],
    }


def draw(costs: dict[str, list[Cost]]) -> Table:
    """Return a row for each command."""
    table = Table(title="Starting: medians", title_justify="left")
    for column in ("command", "wall s", "CPU s"):
        table.add_column(column, justify="left" if column == "command" else "right")
    for name, found in costs.items():
        table.add_row(name, f"{statistics.median(wall(found)):.2f}", f"{statistics.median(cpu(found)):.2f}")
    return table


def main() -> int:
    """Measure, print the tables, write the figures, and return 1 where a target is missed."""
    options = option_parser(__doc__).parse_args()
    os.environ.pop("ACCELERATE_CONFIG_FILE", None)
    with tempfile.TemporaryDirectory() as folder:
        sides = {name: partial(cost_of_command, command) for name, command in commands(Path(folder)).items()}
        # The first run brings files into the system's cache.
        costs = in_turn(sides, 1 if options.quick else options.rounds, warms_up=not options.quick)
    ratios = []
    for name, other in COMPARED.items():
        ours, theirs = costs[name], costs[other]
        ratios.append(Ratio.of(f"{name}: time, of {other}", wall(ours), wall(theirs), at_most=TARGETS[name]))
        ratios.append(Ratio.of(f"{name}: CPU time, of {other}", cpu(ours), cpu(theirs)))
    console().print(draw(costs))
    return finish("startup", ratios, quick=options.quick, figures={}, costs=costs)


if __name__ == "__main__":
    sys.exit(main())

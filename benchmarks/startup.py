"""What starting costs: `slipway detect` against an import of torch, `slipway launch` against `accelerate launch`.

Both launchers start the same script, which builds an Accelerator on the CPU. Every round runs all of them, in turn; medians
are compared as ratios. CPU time, of all processes that a command started, stands beside wall time: it is the steadier one.

    python -m benchmarks.startup [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).resolve().parent / "results" / "startup.json"
TARGETS = {"slipway detect": 0.15, "slipway launch": 0.65}
COMPARED = {"slipway detect": "import torch", "slipway launch": "accelerate launch"}
_SCRIPT = "from accelerate import Accelerator\nAccelerator(cpu=True)\n"
_BARE = ("--cpu", "--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of one command."""

    wall_seconds: float
    cpu_seconds: float


def commands(folder: Path) -> dict[str, list[str]]:
    """Return what is compared, with the script written into `folder`."""
    script = folder / "script.py"
    script.write_text(_SCRIPT, encoding="utf-8")
    slipway = [sys.executable, "-c", "import sys; from launcher.cli import main; sys.exit(main())"]
    accelerate = [sys.executable, "-m", "accelerate.commands.launch"]
    return {
        "slipway detect": [*slipway, "detect", "--json"],
        "import torch": [sys.executable, "-c", "import torch"],
        "slipway launch": [*slipway, "launch", "--device", "cpu", "--log-dir", str(folder), str(script)],
        "accelerate launch": [*accelerate, *_BARE, str(script)],
        "plain python": [sys.executable, str(script)],
    }


def measure(command: list[str]) -> Cost:
    """Run a command to its end and return what it cost, with everything that it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(
        wall_seconds=wall,
        cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    )


def machine() -> dict[str, str | int]:
    """Return what was measured on."""
    from launcher.detect import detect

    cpu = detect().cpu
    return {
        "processor": cpu.model or platform.machine(),
        "usable_cpus": str(cpu.usable_cpus),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "accelerate")},
    }


def main() -> int:
    """Measure, print the table, write the figures, and return 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ.pop("ACCELERATE_CONFIG_FILE", None)
    with tempfile.TemporaryDirectory() as folder:
        compared = commands(Path(folder))
        costs: dict[str, list[Cost]] = {name: [] for name in compared}
        for command in compared.values():
            measure(command)  # files into the system's cache
        for _ in range(options.rounds):
            for name, command in compared.items():
                costs[name].append(measure(command))
    wall = {name: statistics.median(cost.wall_seconds for cost in found) for name, found in costs.items()}
    cpu = {name: statistics.median(cost.cpu_seconds for cost in found) for name, found in costs.items()}
    table = Table(title=f"Starting, medians of {options.rounds}")
    for column in ("command", "wall s", "CPU s", "against", "wall ratio", "CPU ratio", "target"):
        table.add_column(column, justify="left" if column in ("command", "against") else "right")
    ratios = {}
    for name in compared:
        row = [name, f"{wall[name]:.2f}", f"{cpu[name]:.2f}"]
        other = COMPARED.get(name)
        if other:
            ratios[name] = {"wall": wall[name] / wall[other], "cpu": cpu[name] / cpu[other], "target": TARGETS[name]}
            row += [other, f"{ratios[name]['wall']:.2f}", f"{ratios[name]['cpu']:.2f}", f"{TARGETS[name]:.2f}"]
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 110).print(table)
    content = {
        "rounds": options.rounds,
        "ratios": ratios,
        "costs": {name: [asdict(cost) for cost in found] for name, found in costs.items()},
        "machine": machine(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return int(any(ratio["wall"] > ratio["target"] for ratio in ratios.values()))


if __name__ == "__main__":
    sys.exit(main())

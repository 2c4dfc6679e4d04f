"""What the benchmarks share: clocks, rounds in turn, ratios with their targets, the machine, tables and files of results."""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

SCHEMA_VERSION = 1
RESULTS = Path(__file__).resolve().parent / "results"
QUICK_RESULTS = RESULTS / "quick"
"""Of short forms: they show that a benchmark runs, and their figures mean little."""

_COLUMNS = 120
"""Of tables that are not drawn on a terminal."""

_CPU_TIME_OF_CHILDREN = resource.RUSAGE_CHILDREN


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one run of one side took."""

    wall_seconds: float
    cpu_seconds: float
    """Of all threads."""


class Clock:
    """Measures from its making, or from `restart`, to `read`: wall time, and the CPU time of this process."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin again."""
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> Cost:
        """Return what has gone by."""
        return Cost(wall_seconds=time.perf_counter() - self._wall, cpu_seconds=time.process_time() - self._cpu)


def cost_of_command(command: Sequence[str]) -> Cost:
    """Run a command to its end and return what it cost, with everything that it started."""
    before = resource.getrusage(_CPU_TIME_OF_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(_CPU_TIME_OF_CHILDREN)
    return Cost(wall_seconds=wall, cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def in_turn(
    sides: Mapping[str, Callable[[], Cost]], num_rounds: int, *, warms_up: bool = True
) -> dict[str, list[Cost]]:
    """Run every side once in each round, so that what else the machine does falls on all of them; return their costs.

    With `warms_up` each side runs once before the first round.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    if warms_up:
        for run in sides.values():
            run()
    names = list(sides)
    for number in range(num_rounds):
        # The next side begins each round: none always comes first after a pause.
        for name in names[number % len(names) :] + names[: number % len(names)]:
            gc.collect()
            costs[name].append(sides[name]())
    return costs


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A figure against another one of the same rounds, and what it must be."""

    name: str
    value: float
    """The median of the rounds."""
    lowest: float
    highest: float
    rounds: int
    bound: Literal["at most", "at least"] = "at most"
    target: float | None = None
    """None: told, not promised."""

    @property
    def is_met(self) -> bool:
        """Whether the target holds; without one it does."""
        if self.target is None:
            return True
        return self.value <= self.target if self.bound == "at most" else self.value >= self.target

    @classmethod
    def of(
        cls,
        name: str,
        ours: Sequence[float],
        theirs: Sequence[float],
        *,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> Ratio:
        """Return the median, over the rounds, of one figure over the other's."""
        values = [own / other for own, other in zip(ours, theirs, strict=True)]
        return cls(
            name=name,
            value=statistics.median(values),
            lowest=min(values),
            highest=max(values),
            rounds=len(values),
            bound="at most" if at_least is None else "at least",
            target=at_most if at_least is None else at_least,
        )

    @classmethod
    def single(cls, name: str, value: float, *, at_most: float | None = None, at_least: float | None = None) -> Ratio:
        """Return a figure that has no rounds, such as a difference of weights."""
        return cls.of(name, [value], [1.0], at_most=at_most, at_least=at_least)


def wall(costs: Sequence[Cost]) -> list[float]:
    """Return the wall seconds of each round."""
    return [cost.wall_seconds for cost in costs]


def cpu(costs: Sequence[Cost]) -> list[float]:
    """Return the CPU seconds of each round."""
    return [cost.cpu_seconds for cost in costs]


def machine() -> dict[str, Any]:
    """Return what is measured on and with what, and when; neither names nor paths of the machine."""
    from slipway.launcher.hardware.detect import detect
    from slipway.training.run.opening.provenance import slipway_commit, versions

    hardware = detect()
    return {
        "processor": hardware.cpu.model or platform.machine(),
        "usable_cpus": hardware.cpu.usable_cpus,
        "memory_bytes": hardware.memory.usable_bytes,
        "system": f"{platform.system()} {platform.machine()}",
        "accelerators": [accelerator.name for accelerator in hardware.accelerators],
        "versions": versions(),
        "git_commit": slipway_commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "load_average": os.getloadavg()[0],
    }


def option_parser(doc: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark takes: `--rounds` and `--quick`."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds, help=f"how often each side is measured [{rounds}]")
    parser.add_argument("--quick", action="store_true", help="a short form, on which no target is asserted")
    return parser


def console() -> Console:
    """Return the console of stdout."""
    return Console(width=None if sys.stdout.isatty() else _COLUMNS, highlight=False)


def ratio_table(title: str, ratios: Mapping[str, Sequence[Ratio]], *, judged: bool) -> Table:
    """Return ratios by benchmark as a table; a target that is missed stands out where it is `judged`."""
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for column in ("median", "lowest", "highest", "target"):
        table.add_column(column, justify="right", no_wrap=True)
    for benchmark, rows in ratios.items():
        if len(ratios) > 1:
            table.add_section()
            table.add_row(benchmark, style="bold")
        for row in rows:
            spread = [f"{value:.3g}" for value in (row.lowest, row.highest)] if row.rounds > 1 else ["", ""]
            target = "" if row.target is None else f"{row.bound} {row.target:g}"
            missed = judged and not row.is_met
            table.add_row(row.name, f"{row.value:.3g}", *spread, target, style="bold red" if missed else None)
    return table


def finish(
    name: str,
    ratios: Sequence[Ratio],
    *,
    quick: bool,
    figures: Mapping[str, Any],
    costs: Mapping[str, Sequence[Cost]] | None = None,
) -> int:
    """Print the ratios, write `results/<name>.json`, and return the exit code: 1 where a full run misses a target."""
    console().print(ratio_table(name, {name: ratios}, judged=not quick))
    content = {
        "schema_version": SCHEMA_VERSION,
        "benchmark": name,
        "quick": quick,
        "ratios": [{**asdict(ratio), "is_met": ratio.is_met} for ratio in ratios],
        "figures": dict(figures),
        "costs": {side: [asdict(cost) for cost in found] for side, found in (costs or {}).items()},
        "machine": machine(),
    }
    path = result_path(name, quick=quick)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return int(not quick and not all(ratio.is_met for ratio in ratios))


def result_path(name: str, *, quick: bool) -> Path:
    """Return where a benchmark's results are written."""
    return (QUICK_RESULTS if quick else RESULTS) / f"{name}.json"


def read_ratios(path: Path) -> list[Ratio]:
    """Return the ratios of a file of results; none where it has none or is not there."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["ratios"]
        return [Ratio(**{key: value for key, value in row.items() if key != "is_met"}) for row in rows]
    except (OSError, KeyError, TypeError, ValueError, AttributeError):
        return []

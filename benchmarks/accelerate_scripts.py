"""Accelerate's own test scripts, those that run on a CPU, under `slipway launch` and under `accelerate launch`.

Both start each script with one and with two processes; exit codes and last lines must be the same. What Accelerate itself
cannot run here fails under both.

    python -m benchmarks.accelerate_scripts [--quick] [--only test_ops,test_cli]
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from benchmarks.measure import Ratio, console, finish, option_parser

SCRIPTS = {
    "test_cli": (1, 2),
    "test_ops": (1, 2),
    "test_sync": (1, 2),
    "test_script": (1, 2),
    "test_distributed_data_loop": (
        1,
    ),  # with two CPU processes it waits for ever: uneven inputs are joined on GPUs only
    "test_merge_weights": (1, 2),
    "test_ddp_comm_hook": (1, 2),
}
"""Of `accelerate.test_utils.scripts`, with the numbers of processes.

The others need the Hub's models, GPUs or DeepSpeed, or are launchers themselves.
"""
_QUICK = ("test_cli", "test_ops")
_LIMIT_SECONDS = 900
_LAST_LINES = 3
_SLIPWAY = (sys.executable, "-c", "import sys; from slipway.launcher.cli import main; sys.exit(main())")
_ACCELERATE = (sys.executable, "-m", "accelerate.commands.launch")
_CHANGING = re.compile(r"0x[0-9a-f]+|/tmp/\S+|\d+(\.\d+)?(e-?\d+)?")
"""What differs between two runs of the same: addresses, folders, numbers."""
_RANK = re.compile(r"\[rank\d+\]:? *")
"""Which torch writes before each line of a rank's traceback, if its process group stands at that moment."""
_RAISED = re.compile(r"(?!.*(CalledProcess|ChildFailed)Error)[\w.]*(Error|Exception|Interrupt)\b")
"""By the script: Accelerate's launcher raises an error of its own."""
_TWICE = re.compile(r"^(.+)\1$")
_OF_LAUNCHERS = re.compile(r"^(slipway launch: |.*torch[/.]distributed[/.](run|elastic)|[=-]{5,}$)")


@dataclass(frozen=True, kw_only=True)
class End:
    """How a script ended: its exit code and the last lines of what it said; None where it did not end in time."""

    exit_code: int | None
    last_lines: tuple[str, ...]


def main() -> int:
    """Run the scripts, print the table, write it, and return 1 where one ends otherwise than under Accelerate."""
    parser = option_parser(__doc__)
    parser.add_argument("--only", help="names of scripts, separated by commas [all]")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else _QUICK if options.quick else tuple(SCRIPTS)
    if unknown := [name for name in names if name not in SCRIPTS]:
        parser.error(f"--only: unknown {', '.join(unknown)}; choose from {', '.join(SCRIPTS)}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            for count in SCRIPTS[name]:
                ends = {who: run(who, name, count, Path(folder)) for who in ("slipway", "accelerate")}
                rows.append((name, count, ends))
                print(f"{name}, {count}: {'same' if is_same(ends) else 'DIFFERS'}", file=sys.stderr)
    console().print(draw(rows))
    num_same = sum(is_same(ends) for _, _, ends in rows)
    figures = [
        {"script": name, "processes": count, **{who: asdict(end) for who, end in ends.items()}, "same": is_same(ends)}
        for name, count, ends in rows
    ]
    ratio = Ratio.single("scripts that end as under accelerate launch, of all", num_same / len(rows), at_least=1.0)
    finish("accelerate_scripts", [ratio], quick=options.quick, figures={"scripts": figures})
    return int(num_same < len(rows))


def run(who: str, script: str, count: int, folder: Path) -> End:
    """Run a script with that many CPU processes in an empty folder, as `who` starts it."""
    module = f"accelerate.test_utils.scripts.{script}"
    with tempfile.TemporaryDirectory(dir=folder) as place:
        if who == "slipway":
            options = ["--device", "cpu", "--num-processes", str(count), "--main-process-port", "0"]
            command = [*_SLIPWAY, "launch", *options, "-m", module]
        else:
            # MULTI_CPU starts one process without mpirun.
            options = ["--cpu"] if count == 1 else ["--multi_gpu"]
            options += ["--num_processes", str(count), "--num_machines", "1", "--mixed_precision", "no"]
            command = [*_ACCELERATE, *options, "--dynamo_backend", "no", "--main_process_port", "0", "-m", module]
        try:
            done = subprocess.run(
                command,
                cwd=place,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_LIMIT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return End(exit_code=None, last_lines=())
    said = done.stdout if done.returncode == 0 else f"{done.stdout}\n{done.stderr}"
    return End(exit_code=done.returncode, last_lines=last_lines(said.splitlines()))


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE_", "SLIPWAY_"))}
    root = str(Path(__file__).resolve().parents[1])
    return {**kept, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": root, "HF_HUB_OFFLINE": "1"}


def last_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the last lines of a script, each once; where it failed, what was raised last."""
    # What two ranks print at once may stand in one line.
    said = [
        _TWICE.sub(r"\1", _CHANGING.sub("#", _RANK.sub("", line)).strip())
        for line in lines
        if not _OF_LAUNCHERS.match(line)
    ]
    raised = [line for line in said if _RAISED.match(line)]
    different = list(dict.fromkeys(reversed([line for line in said if line])))
    return tuple(raised[-1:] or reversed(different[:_LAST_LINES]))


def is_same(ends: Mapping[str, End]) -> bool:
    """Return whether a script ended in the same way under both."""
    return ends["slipway"] == ends["accelerate"]


def draw(rows: Sequence[tuple[str, int, Mapping[str, End]]]) -> Table:
    """Return a row for each script and number of processes."""
    table = Table(title="Accelerate's own test scripts", title_justify="left")
    for column in ("script", "processes", "slipway", "accelerate", "the same", "last line"):
        table.add_column(column)
    for name, count, ends in rows:
        last = next(iter(ends["slipway"].last_lines[-1:]), "")
        codes = [str(ends[who].exit_code) for who in ("slipway", "accelerate")]
        table.add_row(name, str(count), *codes, "yes" if is_same(ends) else "NO", last[:60])
    return table


if __name__ == "__main__":
    sys.exit(main())

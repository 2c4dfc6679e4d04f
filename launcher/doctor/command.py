"""`slipway doctor`: what keeps a training from running here as planned, with evidence and what mends it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...training.common.errors import UserError
from ..common.parser import Parser, make_parser, parse
from ..hardware.detect import hardware_of
from ..plan.options import add_intent, intent_of
from .check import Check, DoctorContext, Report, State, report_of, skipped

if TYPE_CHECKING:
    from argparse import Namespace

    from rich.console import Console

PREFLIGHT_FAILED = 3
_INTERRUPTED = 130
_NAME_COLUMNS = 15
_STYLES: dict[State, str] = {"pass": "green", "warn": "bold yellow", "fail": "bold red", "skip": "dim"}
# What a check needs: the record of a machine, the machine itself, or processes of its own on it.
_Needs = Literal["record", "machine", "processes"]


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser("doctor", "Check what keeps a training from running here as planned, and say what mends it.")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--hardware", metavar="FILE", help="check what the record of a machine in FILE tells")
    parser.add_argument(
        "--runs-dir", metavar="FOLDER", default="runs", help="where runs are written; runs unless given"
    )
    parser.add_argument("--quick", action="store_true", help="start no process")
    parser.add_argument(
        "--timeout-seconds",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="limit for each start of processes [60]",
    )
    add_intent(parser)
    return parser


def main(arguments: list[str]) -> int:
    """Run the checks and show what they found; return 3 where one failed, else 0."""
    options = parse(build_parser(), arguments)
    if not 0 < options.timeout_seconds < 1e6:
        raise UserError(f"--timeout-seconds {options.timeout_seconds:g}: must be above 0 and below 1000000")
    with _stoppable():
        try:
            return _show(_run(_situation(options), options), options.json)
        except KeyboardInterrupt:
            return _INTERRUPTED


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Have SIGTERM unwind this process, as Ctrl-C does, so that what a check has started and written goes with it."""

    def stop(signum: int, frame: object) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _situation(options: Namespace) -> DoctorContext:
    from ..plan.make_plan import make_plan

    hardware = hardware_of(options.hardware)
    return DoctorContext(
        hardware=hardware,
        plan=make_plan(hardware, intent_of(options)),
        environ=hardware.environment.variables if options.hardware else dict(os.environ),
        runs_dir=Path(options.runs_dir),
        timeout_seconds=options.timeout_seconds,
    )


def _checks() -> Iterator[tuple[str, _Needs, Callable[[DoctorContext], Check]]]:
    """Yield checks by name in their order: what explains a later failure comes first, what takes seconds last."""
    from . import config as config_checks
    from . import device as device_checks
    from . import environment as environment_checks
    from . import host as host_checks
    from . import port as port_checks
    from . import process as process_checks

    yield "torch", "record", device_checks.check_torch
    yield "devices", "record", device_checks.check_devices
    yield "p2p", "record", device_checks.check_p2p
    yield "cpus", "record", host_checks.check_cpus
    yield "memory", "record", host_checks.check_memory
    yield "shared_memory", "record", host_checks.check_shared_memory
    yield "disk", "machine", host_checks.check_disk
    yield "open_files", "machine", host_checks.check_open_files
    yield "leftover_launch", "record", environment_checks.check_leftover_launch
    yield "environment", "record", environment_checks.check_environment
    yield "default_config", "machine", config_checks.check_default_config
    yield "port", "machine", port_checks.check_port
    yield "collective", "processes", process_checks.check_collective
    yield "world", "processes", process_checks.check_world


def _run(situation: DoctorContext, options: Namespace) -> Iterator[Check]:
    for name, needs, check in _checks():
        if needs != "record" and options.hardware:
            yield skipped(name, "--hardware names a record; this needs the machine itself")
        elif needs == "processes" and options.quick:
            yield skipped(name, "--quick starts no process")
        elif needs == "processes" and situation.hardware.torch.version is None:
            yield skipped(name, "torch is not installed")
        else:
            yield check(situation)


def _show(checks: Iterator[Check], as_json: bool) -> int:
    """Show each check as soon as it is known, or all as JSON; return the exit code."""
    if as_json:
        report = report_of(tuple(checks))
        print(report.to_json())
        return _exit_code(report)
    from rich.console import Console

    console = Console(highlight=False)
    found = []
    # On the console that prints: a status of another one would take over its output.
    with console.status("checking ..."):
        for check in checks:
            found.append(check)
            draw(check, console)
    report = report_of(tuple(found))
    counted = {state: sum(check.state == state for check in found) for state in _STYLES}
    console.print(f"{len(found)} checks: " + ", ".join(f"{count} {state}" for state, count in counted.items()))
    return _exit_code(report)


def _exit_code(report: Report) -> int:
    return PREFLIGHT_FAILED if report.state == "fail" else 0


def draw(check: Check, console: Console) -> None:
    """Print a check: `pass  torch  evidence`, and below it what mends it.

    On a terminal the evidence is folded within its column; off one a check is one line. A remedy is never folded by
    this program, so that a terminal copies it whole.
    """
    from rich.table import Table
    from rich.text import Text

    name = check.name.replace("_", " ")
    state, evidence = Text(check.state, style=_STYLES[check.state]), Text(_one_line(check.evidence))
    if console.is_terminal:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=4)
        table.add_column(width=_NAME_COLUMNS)
        table.add_column(overflow="fold")
        table.add_row(state, Text(name), evidence)
        console.print(table)
    else:
        console.print(Text.assemble(state, f"  {name:<{_NAME_COLUMNS}}  ", evidence), soft_wrap=True)
    if check.remedy:
        console.print(Text(f"      to mend: {_one_line(check.remedy)}"), soft_wrap=True)
    sys.stdout.flush()


def _one_line(text: str) -> str:
    """Return text without line breaks and control characters, which a variable's value may hold."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

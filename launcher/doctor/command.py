"""`slipway doctor`: check what keeps a training from running here as planned, and say how to fix it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...training.common.errors import EXIT_INTERRUPTED, UserError
from ...training.common.parser import Parser, make_parser, parse
from ..plan.options import add_intent, add_machine, hardware_of, intent_of, machine_words
from ..plan.spellings import as_spelled_here
from .check import Check, DoctorContext, Report, State, make_report, skipped
from .config import check_default_config
from .device import check_devices, check_p2p, check_torch
from .environment import check_environment, check_leftover_launch
from .host import check_cpus, check_disk, check_memory, check_open_files, check_shared_memory
from .port import check_port
from .sharing import check_sharing
from .world import check_collective, check_world

if TYPE_CHECKING:
    from argparse import Namespace

    from rich.console import Console

PREFLIGHT_FAILED = 3
_NAME_COLUMNS = 15
_STYLES: dict[State, str] = {"pass": "green", "warn": "bold yellow", "fail": "bold red", "skip": "dim"}
# What a check needs: the record of a machine, the machine itself, or to start processes on it.
_Needs = Literal["record", "machine", "processes"]
_CHECKS: tuple[tuple[str, _Needs, Callable[[DoctorContext], Check]], ...] = (
    ("torch", "record", check_torch),
    ("devices", "record", check_devices),
    ("p2p", "record", check_p2p),
    ("cpus", "record", check_cpus),
    ("sharing", "machine", check_sharing),
    ("memory", "record", check_memory),
    ("shared_memory", "record", check_shared_memory),
    ("disk", "machine", check_disk),
    ("open_files", "machine", check_open_files),
    ("leftover_launch", "record", check_leftover_launch),
    ("environment", "record", check_environment),
    ("default_config", "machine", check_default_config),
    ("port", "machine", check_port),
    ("collective", "processes", check_collective),
    ("world", "processes", check_world),
)
"""In their order: a check that explains a later failure comes first, what takes seconds comes last."""


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser("doctor", "Check what keeps a training from running here as planned, and say how to fix it.")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_machine(parser)
    parser.add_argument("--runs-dir", metavar="FOLDER", default="runs", help="where runs are written [runs]")
    parser.add_argument("--quick", action="store_true", help="leave out the checks that start processes")
    parser.add_argument(
        "--timeout-seconds",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="time limit of each check that starts processes [60]",
    )
    add_intent(parser)
    return parser


def main(arguments: list[str]) -> int:
    """Run the checks and print their results; return 3 where one failed, else 0."""
    parser = build_parser()
    options = parse(parser, as_spelled_here(parser, arguments))
    if not 0 < options.timeout_seconds < 1e6:
        raise UserError(f"--timeout-seconds {options.timeout_seconds:g}: must be above 0 and below 1000000")
    with _unwind_on_sigterm():
        try:
            return _print_results(_run_checks(_make_context(options), options), options.json)
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED


@contextlib.contextmanager
def _unwind_on_sigterm() -> Iterator[None]:
    """Have SIGTERM unwind this process, as Ctrl-C does, so that a check ends its processes and removes its files."""

    def stop(signum: int, frame: object) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _make_context(options: Namespace) -> DoctorContext:
    from ..plan.make_plan import make_plan

    hardware = hardware_of(options)
    return DoctorContext(
        hardware=hardware,
        plan=make_plan(hardware, intent_of(options)),
        environ=hardware.environment.variables if machine_words(options) else dict(os.environ),
        runs_dir=Path(options.runs_dir),
        timeout_seconds=options.timeout_seconds,
    )


def _run_checks(context: DoctorContext, options: Namespace) -> Iterator[Check]:
    for name, needs, check in _CHECKS:
        if needs != "record" and (named := machine_words(options)):
            yield skipped(name, f"{named[0]} names a record, and this check needs the machine itself")
        elif needs == "processes" and options.quick:
            yield skipped(name, "--quick starts no process")
        elif needs == "processes" and context.hardware.torch.version is None:
            yield skipped(name, "torch is not installed")
        else:
            yield check(context)


def _print_results(checks: Iterator[Check], as_json: bool) -> int:
    """Print each result as soon as it is known, or all as JSON; return the exit code."""
    if as_json:
        report = make_report(tuple(checks))
        print(report.to_json())
        return _exit_code(report)

    from ...training.common.program.console import AnswerConsole

    console = AnswerConsole(highlight=False)
    results = []
    # The spinner is on the console that prints, so that both share the terminal.
    with console.status("checking ..."):
        for check in checks:
            results.append(check)
            _print_check(check, console)
    report = make_report(tuple(results))
    counted = {state: sum(check.state == state for check in results) for state in _STYLES}
    console.print(f"{len(results)} checks: " + ", ".join(f"{count} {state}" for state, count in counted.items()))
    return _exit_code(report)


def _exit_code(report: Report) -> int:
    return PREFLIGHT_FAILED if report.state == "fail" else 0


def _print_check(check: Check, console: Console) -> None:
    """Print a result: `pass  torch  evidence`, and the remedy below it.

    On a terminal the evidence is folded within its column; elsewhere it is one line. A remedy is never folded, so that
    it can be copied from a terminal.
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
        console.print(Text(f"      to fix: {_one_line(check.remedy)}"), soft_wrap=True)
    sys.stdout.flush()


def _one_line(text: str) -> str:
    """Return text without line breaks and control characters, which the value of a variable can have."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

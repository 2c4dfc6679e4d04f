"""The command `slipway track`: a process that feeds trackers, of a run that trains or is over."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ...training.common.errors import EXIT_FAILED, UserError
from ...training.common.parser import Parser, make_parser, parse
from ...training.common.program.streams import print_to_stderr
from ...training.config.trackers import PROJECT, check_installed, check_names
from ..common.run_files import JOURNAL, find_run, record_of
from .feeder import Feeder

LATE_SECONDS = 10.0
"""After which a call that has not returned is told."""
_LOOK_SECONDS = 0.1
_LONGEST_CALL_SECONDS = 5.0
"""Of a call, once the run is over and all that is left waits for such ones."""


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "track",
        "Send the numbers of a run to experiment trackers, from its journal: of a run that was trained without, or what a "
        "tracker has not got. What it has got is not sent again.",
        "RUN --tracker NAME,...",
    )
    parser.add_argument("run", metavar="RUN", help="the folder of the run, or its name in the folder of the runs")
    parser.add_argument("--tracker", required=True, metavar="NAME,...", help="the trackers, by Accelerate's names")
    parser.add_argument("--tracker-project", default=PROJECT, metavar="NAME", help=f"the project there [{PROJECT}]")
    parser.add_argument("--runs-dir", default="runs", metavar="DIR", help="the folder of the runs [runs]")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="go on until standard input ends, and tell what happens as lines of JSON: what a training starts",
    )
    return parser


def main(arguments: list[str]) -> int:
    """Feed the trackers; return the exit code."""
    options = parse(build_parser(), arguments)
    names = check_names([name for name in options.tracker.split(",") if name])
    check_installed(names)
    folder = find_run(options.run, Path(options.runs_dir), "slipway track")
    over = threading.Event()
    if not options.follow:
        if not (folder / JOURNAL).exists():
            raise UserError(
                f"slipway track {folder}: a study has no journal of its own; name one of its runs: {folder}/..."
            )
        over.set()
    feeders = [Feeder(name, folder, str(record_of(folder)["name"]), options.tracker_project, over) for name in names]
    if not options.follow:
        return _send_rest(feeders)
    os.nice(19)
    # What trackers print is none of the run; the threads that hang there end with the process.
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)

    def tell(tracker: str, trouble: str) -> None:
        print(json.dumps({"tracker": tracker, "trouble": trouble}), file=lines)

    feed(feeders, over, tell)
    os._exit(0)


def feed(feeders: Sequence[Feeder], over: threading.Event, tell: Callable[[str, str], None]) -> None:
    """Run feeders until standard input ends and they have sent all, or hang; tell what goes wrong, once for each."""

    def wait_for_end() -> None:
        sys.stdin.buffer.read()
        over.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    for feeder in feeders:
        feeder.start()
    told: set[str] = set()
    while any(feeder.is_alive() for feeder in feeders):
        time.sleep(_LOOK_SECONDS)
        waiting = {one.name: time.monotonic() - since for one in feeders if (since := one.called) and one.is_alive()}
        for name, seconds in waiting.items():
            if seconds > LATE_SECONDS and name not in told:
                told.add(name)
                tell(name, f"it has not answered for {LATE_SECONDS:.0f} s")
        _tell_troubles(feeders, told, tell)
        alive = [feeder.name for feeder in feeders if feeder.is_alive()]
        if alive and over.is_set() and all(waiting.get(name, 0.0) > _LONGEST_CALL_SECONDS for name in alive):
            for name in alive:
                if name not in told:
                    tell(name, f"it has not answered for {_LONGEST_CALL_SECONDS:.0f} s at the end of the run")
            return
    _tell_troubles(feeders, told, tell)


def _tell_troubles(feeders: Sequence[Feeder], told: set[str], tell: Callable[[str, str], None]) -> None:
    for feeder in feeders:
        if feeder.trouble and feeder.name not in told:
            told.add(feeder.name)
            tell(feeder.name, feeder.trouble)


def _send_rest(feeders: Sequence[Feeder]) -> int:
    """Send what there is, with the patience of the trackers themselves; return the exit code.

    Raises:
        UserError: a file of the run is damaged.
    """
    for feeder in feeders:
        feeder.start()
    for feeder in feeders:
        feeder.join()
    for feeder in feeders:
        if feeder.is_wrong_input:
            raise UserError(feeder.trouble)
        print_to_stderr(f"{feeder.name}: {f'error: {feeder.trouble}' if feeder.trouble else 'has all points'}")
    return EXIT_FAILED if any(feeder.trouble for feeder in feeders) else 0

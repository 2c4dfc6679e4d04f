"""The command `slipway watch`."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from ...training.common.errors import EXIT_INTERRUPTED, UserError
from ...training.common.parser import Parser, make_parser, parse
from ...training.common.program.streams import print_to_stderr
from ...training.common.run_names import RECORD, is_held
from ...training.observers.screen.base import ProgressConsole
from ...training.observers.screen.console import make_console_observer
from ..common.run_files import JOURNAL, find_run, record_of
from .follow import JournalTail, follow
from .replay import Replay

_QUIET_SECONDS = 15.0
"""How long nobody may hold the lock of a run that is marked as running, with nothing written: on some shared disks a lock of
another machine is not seen."""


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "watch",
        "Show the screen of a run, from its journal: one that trains in another terminal or on another machine, or one that is "
        "over. Ctrl-C ends the watching, not the run.",
        "[RUN] [options]",
    )
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        help="the folder of the run, or its name in the folder of the runs [the newest]",
    )
    parser.add_argument("--runs-dir", default="runs", metavar="DIR", help="the folder of the runs [runs]")
    parser.add_argument("--once", action="store_true", help="show what there is, and end")
    parser.add_argument(
        "--log-format",
        choices=("auto", "text", "logfmt", "json"),
        default="auto",
        help="bars on a terminal, lines that people read, or records for programs [auto: bars, or else text]",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="show the whole plan with its reasons, and every decision"
    )
    return parser


def main(arguments: list[str]) -> int:
    """Show a run until it is over; return the exit code."""
    options = parse(build_parser(), arguments)
    runs_dir = Path(options.runs_dir)
    folder = find_run(options.run, runs_dir, "slipway watch") if options.run else _newest(runs_dir)
    if not record_of(folder).get("recipe") and not (folder / JOURNAL).exists():
        raise UserError(
            f"slipway watch {folder}: a study has no journal of its own; name one of its runs: {folder}/..."
        )
    replay = Replay(folder)
    observer = make_console_observer(
        log_level="info", log_format=options.log_format, verbose=options.verbose, clock=replay.clock
    )
    if isinstance(observer, ProgressConsole):
        observer.is_replayed = True
    try:
        with closing(observer):
            for event in follow(JournalTail(folder / JOURNAL), _Over(folder, at_once=options.once)):
                replay.send(event, observer)
    except KeyboardInterrupt:
        print_to_stderr("no longer watched; the run goes on")
        return EXIT_INTERRUPTED
    state = record_of(folder).get("state")
    if state != "finished" and not options.once:
        what = "no process trains it any more" if state == "running" else str(state)
        print_to_stderr(f"{folder.name}: {what}, after step {replay.step}; `slipway resume {folder}` goes on")
    return 0


class _Over:
    """Whether a run is over: its record says so, or nobody has its lock and nothing is written."""

    def __init__(self, folder: Path, *, at_once: bool) -> None:
        self._folder, self._at_once = folder, at_once
        self._seen: tuple[int, float] = (0, time.monotonic())

    def __call__(self) -> bool:
        if self._at_once or record_of(self._folder).get("state") != "running":
            return True
        path = self._folder / JOURNAL
        size, now = path.stat().st_size if path.exists() else 0, time.monotonic()
        if is_held(self._folder) or size != self._seen[0]:
            self._seen = (size, now)
        return now - self._seen[1] >= _QUIET_SECONDS


def _newest(runs_dir: Path) -> Path:
    """Return the run of which the record was written last, one that trains before those that are over."""
    records = sorted(runs_dir.glob(f"*/{RECORD}"), key=lambda path: path.stat().st_mtime)
    if not records:
        raise UserError(f"slipway watch: no run in {runs_dir}; name a run's folder, or another --runs-dir")
    running = [path for path in records if is_held(path.parent)]
    return (running or records)[-1].parent

"""The chaos suite: `python -m tests.chaos [--short]`. Exit code 1 where a run did not end as if nobody had touched it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import NoReturn

import psutil

from tests.chaos.attempt import Failed
from tests.chaos.faults.rows import FAULTS
from tests.chaos.killer import Killer
from tests.chaos.preemption import Scheduler
from tests.chaos.report import table, totals
from tests.chaos.run import Run, run_untouched
from tests.chaos.scenario import Found, Scenario
from tests.conftest import ROOT
from tests.launcher.launches import Launches

RESULTS = ROOT / "benchmarks" / "results" / "chaos.json"

KILLS = (
    Scenario(task="sign", segments=((1, 12),)),
    Scenario(task="foreign", segments=((1, 10),)),
    Scenario(task="sign", segments=((2, 10),), reduction="overlap"),
    Scenario(task="foreign", segments=((2, 8),)),
    Scenario(task="sign", segments=((3, 9),)),
    Scenario(task="sign", segments=((3, 6),), reduction="overlap"),
    Scenario(task="sign", segments=((4, 3), (2, 2), (3, 2), (1, 2))),
)
STOPS = (
    Scenario(task="sign", segments=((1, 3),)),
    Scenario(task="sign", segments=((2, 3),), reduction="overlap"),
)
SHORT_KILLS = (
    Scenario(task="sign", segments=((1, 3),), epochs=3),
    Scenario(task="sign", segments=((2, 2),), epochs=3, reduction="overlap"),
    Scenario(task="sign", segments=((2, 1), (1, 0)), epochs=3, reduction="overlap"),
)
SHORT_STOPS = (Scenario(task="sign", segments=((1, 1),), epochs=3),)


class Suite:
    """Runs scenarios, some at a time, and says what happens."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._began = time.monotonic()
        self._speaking = threading.Lock()
        self._references: dict[tuple[object, ...], Run] = {}
        self._reference_locks: dict[tuple[object, ...], threading.Lock] = {}

    def run(self, kills: Sequence[Scenario], stops: Sequence[Scenario], num_jobs: int) -> list[Found]:
        """Return what each scenario came to, in their order."""
        work = [(Killer, scenario) for scenario in kills] + [(Scheduler, scenario) for scenario in stops]
        for _, scenario in work:
            self._reference_locks[self._key(scenario)] = threading.Lock()
        pool = ThreadPoolExecutor(num_jobs)
        try:
            return list(pool.map(self._run, range(1, len(work) + 1), *zip(*work, strict=True)))
        except KeyboardInterrupt:
            self._end_now()
        finally:
            pool.shutdown()

    def _end_now(self) -> NoReturn:
        """Leave no process behind, and wait for none: the threads would only see their runs fail."""
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_IGN)  # a second one would leave what is not yet ended
        for _ in range(2):  # what a thread has started meanwhile
            for process in Launches(self._folder).left():
                with suppress(psutil.Error):
                    process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(130)

    def _run(self, number: int, kind: type[Killer] | type[Scheduler], scenario: Scenario) -> Found:
        driver = kind(scenario, self._folder / f"{number:02d}-killed", self._seed, self.say)
        try:
            return driver.run(self._reference(number, scenario))
        except Failed as failure:  # of the untouched run
            driver.found.problems.append(str(failure))
            return driver.found

    def _reference(self, number: int, scenario: Scenario) -> Run:
        """Return the run that nobody touched, made once for all scenarios that are compared with it."""
        key = self._key(scenario)
        with self._reference_locks[key]:
            if key not in self._references:
                self._references[key] = run_untouched(scenario, self._folder / f"{number:02d}-untouched")
                self.say(f"{replace(scenario, segments=scenario.segments[:1]).name}: ended untouched")
            return self._references[key]

    def _key(self, scenario: Scenario) -> tuple[object, ...]:
        return scenario.task, scenario.segments[0][0], scenario.reduction, scenario.epochs

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        with self._speaking:
            print(f"{time.monotonic() - self._began:6.1f} s  {text}", flush=True)


def main() -> int:
    """Run the suite, print its table, and return 1 where something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--short", action="store_true", help="a few kills and faults, in about a minute")
    parser.add_argument("--only", metavar="TEXT", default="", help="the runs and faults with this in their name")
    parser.add_argument("--seed", type=int, default=0, help="decides whom the kills hit, and roughly when [0]")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time [2]")
    parser.add_argument("--write", action="store_true", help=f"write the figures to {RESULTS.relative_to(ROOT)}")
    options = parser.parse_args()
    some = (SHORT_KILLS, SHORT_STOPS) if options.short else (KILLS, STOPS)
    kills, stops = ([one for one in scenarios if options.only in one.name] for scenarios in some)
    has_faults = any(options.only in one.name and (one.is_short or not options.short) for one in FAULTS)
    if not kills and not stops and not has_faults:
        parser.error(f"--only {options.only!r}: no run has this in its name")

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    failed = bool(kills or stops) and _kill_and_stop(kills, stops, options)
    if has_faults:
        short = ["--short"] if options.short else []
        arguments = [f"--only={options.only}", f"--jobs={options.jobs}", *short]
        failed |= subprocess.run([sys.executable, "-m", "tests.chaos.faults", *arguments]).returncode != 0
    return int(failed)


def _kill_and_stop(kills: Sequence[Scenario], stops: Sequence[Scenario], options: argparse.Namespace) -> bool:
    """Run the scenarios and print their table; return whether something failed."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="slipway-chaos-"))
    found = Suite(folder, options.seed).run(kills, stops, options.jobs)
    seconds = time.monotonic() - began
    print("\n" + table(found))
    print(f"\nseed {options.seed}, {seconds:.0f} s")
    problems = [f"{one.scenario.name}: {problem}" for one in found for problem in one.problems]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print(f"the runs are kept in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    if options.write:
        from benchmarks.measure import machine

        content = {
            "seed": options.seed,
            "seconds": round(seconds, 1),
            **totals(found),
            "scenarios": [{"name": one.scenario.name, **asdict(one)} for one in found],
            "machine": machine(),
        }
        RESULTS.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())

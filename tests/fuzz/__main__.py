"""Open every door on damaged files: `make fuzz`. See docs/fuzz.md.

Each finding is one line; the exit code is 1 if there is any. `--keep FILE` adds them to a corpus.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

from . import environment
from .child import EVERY_PLACE
from .doors import DOORS, Door

FULL, SHORT = 200_000, 1_500
ENVIRONMENT = "environment"
"""Not of files: see there."""
_MOST_SECONDS = 300.0
"""For one input, on a machine that may be busy; a process itself tells what is too long."""
_START_SECONDS = 600.0
"""To import torch on a busy machine, and to train what the doors are shown."""
_POLL_SECONDS = 0.2


@dataclass(kw_only=True)
class Search:
    """What was found so far, by all processes."""

    seed: str
    keep: str | None
    """The corpus to which the first finding of each kind is added."""
    found: list[dict[str, Any]] = field(default_factory=list)
    inputs: int = 0

    def add(self, finding: dict[str, Any]) -> None:
        """Add a finding, and tell it if it is the first of its kind."""
        is_new = all(one["kind"] != finding["kind"] for one in self.found)
        self.found.append(finding)
        if not is_new:
            return
        done = "; ".join([finding["case"], *finding["done"]])
        print(f"{finding['door']} {finding['number']} ({done}): {finding['kind']}", flush=True)
        print("    " + finding["what"].strip().replace("\n", "\n    "), flush=True)
        if self.keep:
            with open(self.keep, "a", encoding="utf-8") as file:
                kept = {name: finding[name] for name in ("kind", "door", "case", "files")}
                file.write(json.dumps(kept) + "\n")


def main() -> int:
    """Search; return the exit code."""
    options = _options()
    if options.door == ENVIRONMENT:
        return environment.main([])
    doors = [door for door in DOORS if options.door in (None, door.name)]
    weights = sum(door.weight for door in doors)
    search = Search(seed=str(options.seed), keep=options.keep)
    began = time.monotonic()
    batches = []
    if options.places:
        search.seed = EVERY_PLACE
        batches = [(door, 0, sys.maxsize) for door in doors]
    for door in doors if not options.places else ():
        count = round(options.inputs * door.weight / weights)
        step = max(1, -(-count // options.parts))
        batches += [(door, start, min(count, start + step)) for start in range(0, count, step)]
    with ThreadPoolExecutor(options.processes) as threads:
        list(threads.map(lambda batch: _search(search, *batch), batches))
    seen = Counter(finding["kind"] for finding in search.found)
    for kind, count in seen.most_common():
        print(f"{count:6}  {kind}")
    print(
        f"{search.inputs:,} inputs, {len(search.found):,} findings of {len(seen)} kinds, {time.monotonic() - began:.0f} s"
    )
    starts, wrong = environment.search(short=options.short) if options.door is None and not options.places else (0, 0)
    if starts:
        print(f"{starts} starts with what others left in the environment, {wrong} findings")
    return 1 if search.found or not search.inputs or wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--short", action="store_true", help=f"{SHORT:,} inputs")
    parser.add_argument("--inputs", type=int, help=f"how many [{FULL:,}]")
    parser.add_argument("--seed", type=int, default=0, help="of the damage [0]")
    parser.add_argument(
        "--places", action="store_true", help="no damage, but each file once as a pipe, a folder, a device"
    )
    parser.add_argument("--door", choices=[*(door.name for door in DOORS), ENVIRONMENT], help="one of the doors")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="at once [all cores]")
    parser.add_argument("--parts", type=int, help="processes for each door, one after the other")
    parser.add_argument("--keep", metavar="FILE", help="add what is found to a corpus")
    options = parser.parse_args()
    options.inputs = options.inputs or (SHORT if options.short else FULL)
    options.parts = options.parts or (1 if options.short else 8)
    return options


def _search(search: Search, door: Door, start: int, stop: int) -> None:
    """Look at the inputs of some numbers in a process of their own; another one goes on where one crashed or hung."""
    while start < stop:
        at, ending = _run_child(search, door, start, stop)
        if ending:
            search.add({"door": door.name, "case": "?", "number": at, "done": [], "files": {}, **ending})
        search.inputs += max(0, at + 1 - start)
        if not ending:
            return
        start = at + 1


def _run_child(search: Search, door: Door, start: int, stop: int) -> tuple[int, dict[str, str]]:
    """Return the number of the last input that was looked at, and how the process ended if that was too early."""
    with tempfile.NamedTemporaryFile() as marks, tempfile.TemporaryFile("w+") as errors:
        marks.write(struct.pack("q", -1))
        marks.flush()
        arguments = [door.name, search.seed, str(start), str(stop), marks.name]
        command = [sys.executable, "-m", "tests.fuzz.child", *arguments]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True, env=_environment()
        )
        reader = threading.Thread(target=lambda: [search.add(json.loads(line)) for line in process.stdout or ()])
        reader.start()
        hung = _wait(process, Path(marks.name))
        reader.join()
        number = struct.unpack("q", Path(marks.name).read_bytes())[0]
        if process.returncode == 0:
            return number, {}
        errors.seek(0)
        said = errors.read()[-3000:]
        if number < 0 or process.returncode == 1:
            raise RuntimeError(f"{door.name}: its process failed\n{said}")
        return number, {"kind": f"{'hangs' if hung else f'ends by {process.returncode}'} {_ours(said)}", "what": said}


def _wait(process: subprocess.Popen[str], marks: Path) -> bool:
    """Wait until a process ends, and end it if one input takes too long; return whether it did."""
    last, since = -1, time.monotonic()
    while process.poll() is None:
        time.sleep(_POLL_SECONDS)
        number = struct.unpack("q", marks.read_bytes())[0]
        if number != last:
            last, since = number, time.monotonic()
        # The first input waits for what the door is shown.
        if time.monotonic() - since > (_START_SECONDS if last < 0 else _MOST_SECONDS):
            process.send_signal(signal.SIGABRT)  # it writes where it stands
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            process.wait()
            return True
    return False


def _ours(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if "/training/" in line or "/launcher/" in line]
    return lines[0][-100:] if lines else ""


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLIPWAY_", "SLURM_"))}
    return {
        **kept,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "NO_COLOR": "1",
    }


if __name__ == "__main__":
    sys.exit(main())

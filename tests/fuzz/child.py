"""A process that opens a door on damaged files, one after the other, and says what it should not have seen."""

from __future__ import annotations

import base64
import contextlib
import faulthandler
import json
import logging
import mmap
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from slipway.training.common.program.doors import error_of_place
from slipway.training.common.program.lifeline import end_with_parent

from .doors import DOORS, Case, Door
from .mutate import PLACES, make_special, mutate_folder, restore

WAITS = 6.0
"""How many times the seconds of an input may pass on a machine that may be busy."""
EVERY_PLACE = "places"
"""In place of a seed: each file of each case once as each kind of thing that is no file."""
_ADDRESS_SPACE = 12 << 30
"""More than that is a finding by itself, and no danger for the machine."""


class TookTooLong(BaseException):
    """An input was waited for longer than it may take."""


def main(name: str, seed: str, start: int, stop: int, marks: str) -> None:
    """Open a door on the inputs of some numbers. What is found goes to stdout, a line each; the number to `marks`."""
    faulthandler.enable()
    for signum in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(signum, _give_up)
    end_with_parent(os.getppid(), signal.SIGKILL, 0.0)
    warnings.simplefilter("ignore")
    logging.disable()
    door = next(one for one in DOORS if one.name == name)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    place = Path(tempfile.mkdtemp(prefix="slipway-fuzz-"))
    os.chdir(place)
    os.environ.update(HOME=str(place), XDG_CACHE_HOME=str(place), XDG_CONFIG_HOME=str(place))
    try:
        with open(marks, "r+b") as file, mmap.mmap(file.fileno(), 8) as mark:
            for finding in look(door, seed, start, stop, place, mark):
                out.write(json.dumps(finding) + "\n")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def look(door: Door, seed: str, start: int, stop: int, place: Path, mark: Any) -> Iterator[dict[str, Any]]:
    """Yield what was found at the inputs of some numbers."""
    cases = door.cases()
    written: dict[str, tuple[Path, dict[Path, bytes]]] = {}

    def files_of_case(case: Case) -> tuple[Path, dict[Path, bytes]]:
        if case.name not in written:
            written[case.name] = write_whole(case, place / str(len(written)))
        return written[case.name]

    plan = []
    if seed == EVERY_PLACE:
        plan = [(case, file, kind) for case in cases for file in sorted(files_of_case(case)[1]) for kind in PLACES]
        stop = min(stop, len(plan))
    _limit_memory()
    for number in range(start, stop):
        mark[:] = struct.pack("q", number)
        generator = Random(f"{seed} {door.name} {number}")
        if plan:
            case, file, kind = plan[number]
            folder, contents = files_of_case(case)
            done = [f"{file.relative_to(folder)}: {make_special(file, kind)}"]
        else:
            case = generator.choice(cases)
            folder, contents = files_of_case(case)
            done = mutate_folder(folder, generator)
            if also := case.mend(folder, generator):
                done.append(also)
        problem = open_door(case, folder)
        if problem is not None:
            changed = files_of(folder, contents)
            yield {"door": door.name, "case": case.name, "number": number, "done": done, "files": changed, **problem}
        restore(folder, contents)


def write_whole(case: Case, folder: Path) -> tuple[Path, dict[Path, bytes]]:
    """Write the files of a case and open it once; return the folder and the contents, which must be let in."""
    folder.mkdir()
    case.write(folder)
    contents = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    try:
        case.open(folder)
    except case.allowed:
        if not case.is_refused:
            raise
    restore(folder, contents)
    return folder, contents


def open_door(case: Case, folder: Path) -> dict[str, Any] | None:
    """Open a door; return what was wrong with how it answered."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    before = _reset_peak()
    began = time.process_time()
    problem = None
    signal.setitimer(signal.ITIMER_PROF, case.most_seconds)
    signal.setitimer(signal.ITIMER_REAL, WAITS * case.most_seconds)
    try:
        case.open(folder)
    except case.allowed as error:
        if "\n" in str(error).strip() and len(str(error)) > 3000:
            problem = {"kind": "a message of many lines", "what": str(error)[:300]}
    except BaseException as error:
        # What is no fault of the file, but of its place, becomes one line at the end of the program.
        if error_of_place(error) is None:
            which = f" {str(error).partition(':')[0]}" if isinstance(error, AssertionError) else ""
            kind = f"{type(error).__name__}{which[:60]}{_place_of(error)}"
            problem = {"kind": kind, "what": traceback.format_exc()[-3000:]}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    if problem is None and (seconds := time.process_time() - began) > case.most_seconds:
        problem = {"kind": "slow", "what": f"{seconds:.1f} s"}
    if problem is None and (more := _peak() - before) > 2 * size + case.most_more_bytes:
        problem = {"kind": "memory", "what": f"{more:,} bytes for {size:,}"}
    return problem


def files_of(folder: Path, contents: dict[Path, bytes]) -> dict[str, str | None]:
    """Return what differs from the whole files, by path: packed text; None where it is no file any more."""
    found: dict[str, str | None] = {}
    for path in {*contents, *(one for one in folder.rglob("*") if not one.is_dir())}:
        is_file = path.is_file() and not path.is_symlink()
        content = path.read_bytes() if is_file else None
        if content != contents.get(path):
            packed = None if content is None else base64.b85encode(zlib.compress(content, 9)).decode()
            found[path.relative_to(folder).as_posix()] = packed
    return found


def _give_up(*_: object) -> None:
    raise TookTooLong


def _place_of(error: BaseException) -> str:
    """Return the last place in code of ours on the way of an error."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        for room in ("/training/", "/launcher/", "/fuzz/"):
            if room in frame.filename:
                return f" at {room[1:]}{frame.filename.partition(room)[2]}:{frame.name}"
    return ""


def _limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, hard))


def _reset_peak() -> int:
    """Let the peak of memory begin here; return what is used."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak()


def _peak() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])

"""Starts processes for a check and ends every one of them, at the latest when a limit has passed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.paths import python_path
from ..launch.environment import environment_of
from ..launch.state_files import PARENT_VARIABLE
from ..plan.records import LaunchPlan

_POLL_SECONDS = 0.02
_DEATH_SECONDS = 5.0
_GRACE_SECONDS = 3.0  # for the others once one has failed: their errors follow from the first


@dataclass(frozen=True, kw_only=True)
class MembersOutcome:
    """How a start of processes ended: what its members reported, and what went wrong (None: nothing)."""

    reports: tuple[dict[str, Any], ...]
    problem: str | None
    timed_out: bool
    seconds: float


def member_environment(plan: LaunchPlan, environ: Mapping[str, str], folder: str) -> dict[str, str]:
    """Return the environment of started processes, as `slipway launch` makes it: without traces of other launches.

    The traces have a check of their own; left in, they would fail every other one too.
    """
    launched = environment_of(plan, environ, plan_path="", folder=folder)
    path = python_path(launched)
    # A file of the user's folder must not stand in for a module.
    ours = {PARENT_VARIABLE: str(os.getpid()), "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    return {**launched, **ours}


def run(
    commands: Sequence[Sequence[str]], environ: Mapping[str, str], folder: Path, limit_seconds: float
) -> MembersOutcome:
    """Run commands side by side until all have ended, one has failed, or the limit has passed; then end all of them.

    What they print goes to files of the folder, where their members put their reports too.
    """
    started = time.monotonic()
    with _running(commands, environ, folder) as processes:
        timed_out = not _wait(processes, limit_seconds)
        codes = [process.poll() for process in processes]
        seconds = time.monotonic() - started
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    reports = tuple(json.loads(path.read_text(encoding="utf-8")) for path in files)
    # One that a signal ended had no chance to say why; the others then only miss it.
    failed = sorted((code, index) for index, code in enumerate(codes) if code)
    errors = [report["error"] for report in reports if report["error"]]
    if errors and not (failed and failed[0][0] < 0):
        problem = f"no end within {limit_seconds:g} s: {errors[0]}" if timed_out else errors[0]
    elif failed:
        code, index = failed[0]
        problem = _ended_by(code) + _last_line(folder / f"output-{index}")
    elif timed_out:
        problem = f"no end within {limit_seconds:g} s{_last_line(folder / f'output-{codes.index(None)}')}"
    else:
        problem = None
    return MembersOutcome(reports=reports, problem=problem, timed_out=timed_out, seconds=seconds)


@contextlib.contextmanager
def _running(
    commands: Sequence[Sequence[str]], environ: Mapping[str, str], folder: Path
) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for index, command in enumerate(commands):
            # A file, not a pipe: a pipe would stay open for as long as any descendant lives.
            with open(folder / f"output-{index}", "wb") as output:
                processes.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        env=dict(environ),
                        start_new_session=True,  # Ctrl-C is this process's to handle
                    )
                )
        yield processes
    finally:
        _end(processes)


def _wait(processes: Sequence[subprocess.Popen[bytes]], limit_seconds: float) -> bool:
    """Wait until all have ended or one has failed and the others had time to say why; return False after the limit."""
    deadline = time.monotonic() + limit_seconds
    while time.monotonic() < deadline:
        codes = [process.poll() for process in processes]
        if None not in codes:
            return True
        if any(codes):
            deadline = min(deadline, time.monotonic() + _GRACE_SECONDS)
            while None in [process.poll() for process in processes] and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Kill processes and all their descendants: torchrun puts its workers in sessions of their own."""
    import psutil  # a doctor starts without it

    from ..launch.supervise.processes import send, stopped_family, wait

    tree: set[psutil.Process] = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.poll() is None:
                tree |= stopped_family(psutil.Process(process.pid))
    for one in tree:
        send(one, signal.SIGKILL)
    # A driver can hold a process that even SIGKILL does not end; it is not waited for longer.
    deadline = time.monotonic() + _DEATH_SECONDS
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(0.0, deadline - time.monotonic()))
    wait(tree, deadline - time.monotonic())


def _ended_by(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _last_line(path: Path) -> str:
    """Return the last line with words in a file of output, introduced; without a terminal's control characters."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 16384))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    said = [line.strip() for line in lines if any(letter.isalnum() for letter in line)]
    if not said:
        return "; it printed nothing"
    return "; last line: " + "".join(letter if letter.isprintable() else "?" for letter in said[-1])[:300]

"""Run processes for a check, and end every one of them, at the latest after a time limit."""

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

from ...training.common.plan_file import LaunchPlan
from ..common.paths import python_path
from ..launch.environment import environment_of
from ..launch.state_files import PARENT_VARIABLE

_POLL_SECONDS = 0.02
_DEATH_SECONDS = 5.0
_GRACE_SECONDS = 3.0  # for the others once one has failed: their errors follow from the first


@dataclass(frozen=True, kw_only=True)
class MembersOutcome:
    """How the processes of a check ended: what each reported, and what went wrong (None: nothing)."""

    reports: tuple[dict[str, Any], ...]
    problem: str | None
    timed_out: bool
    seconds: float


def member_environment(plan: LaunchPlan, environ: Mapping[str, str], folder: str) -> dict[str, str]:
    """Return the environment of the processes as `slipway launch` makes it: without the variables of another launch.

    Those variables have their own check; left in, they would fail the other checks too.
    """
    launched = environment_of(plan, environ, plan_path="", folder=folder)
    path = python_path(launched)
    # Safe path: a file in the working folder must not be imported in place of a module.
    ours = {PARENT_VARIABLE: str(os.getpid()), "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    return {**launched, **ours}


def run_members(
    commands: Sequence[Sequence[str]], environ: Mapping[str, str], folder: Path, limit_seconds: float
) -> MembersOutcome:
    """Run commands side by side until all have ended, one has failed, or the time limit has passed; then end them all.

    Their output goes to files of the folder, to which they write their reports too.
    """
    started = time.monotonic()
    with _running(commands, environ, folder) as processes:
        timed_out = not _wait_for_end(processes, limit_seconds)
        codes = [process.poll() for process in processes]
        seconds = time.monotonic() - started
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    reports = tuple(json.loads(path.read_text(encoding="utf-8")) for path in files)
    # A process ended by a signal reports nothing, and the errors of the others only follow from its end.
    failed = sorted((code, index) for index, code in enumerate(codes) if code)
    errors = [report["error"] for report in reports if report["error"]]
    if errors and not (failed and failed[0][0] < 0):
        problem = f"no end within {limit_seconds:g} s: {errors[0]}" if timed_out else errors[0]
    elif failed:
        code, index = failed[0]
        problem = _format_exit(code) + _last_line(folder / f"output-{index}")
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
        _kill(processes)


def _wait_for_end(processes: Sequence[subprocess.Popen[bytes]], limit_seconds: float) -> bool:
    """Wait until all have ended, or until some seconds after one has failed; return False after the time limit."""
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


def _kill(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Kill processes and all their descendants, which torchrun puts in other sessions."""
    import psutil  # not needed by `slipway doctor --quick`

    from ..launch.supervise.processes import send_signal, stop_with_descendants, wait_for_end

    tree: set[psutil.Process] = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.poll() is None:
                tree |= stop_with_descendants(psutil.Process(process.pid))
    for one in tree:
        send_signal(one, signal.SIGKILL)
    # A driver can keep a process alive even after SIGKILL, so the wait has a limit.
    deadline = time.monotonic() + _DEATH_SECONDS
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(0.0, deadline - time.monotonic()))
    wait_for_end(tree, deadline - time.monotonic())


def _format_exit(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _last_line(path: Path) -> str:
    """Return `; last line: ...` of a file of output, without a terminal's control characters."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 16384))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    lines = [line.strip() for line in lines if any(letter.isalnum() for letter in line)]
    if not lines:
        return "; it printed nothing"
    return "; last line: " + "".join(letter if letter.isprintable() else "?" for letter in lines[-1])[:300]

"""The processes of a launch: found by their folder's name in their environment, signalled, ended for good."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from ..state_files import FOLDER_VARIABLE, RankState

_REUSE_SECONDS = 2.0  # the start of a process is known to about a second
_DRAIN_SECONDS = 2.0
_POLL_SECONDS = 0.01
_STOP_SECONDS = 1.0  # for a call that is under way, such as a fork


def process_of(state: RankState) -> psutil.Process | None:
    """Return the process that wrote a state; None where it is gone, also when another has its pid since."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(state.pid)
        if process.create_time() <= state.started_at + _REUSE_SECONDS:
            return process
    return None


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process still runs; one that only waits to be reaped does not."""
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def send(process: psutil.Process, signum: int) -> None:
    """Send a signal, unless the process is gone."""
    with contextlib.suppress(psutil.Error):
        process.send_signal(signum)


def family(processes: Iterable[psutil.Process]) -> set[psutil.Process]:
    """Return these processes and all that descend from them now."""
    found: set[psutil.Process] = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found |= {process, *process.children(recursive=True)}
    return found


def stopped_family(root: psutil.Process) -> set[psutil.Process]:
    """Return a process and all that descend from it, stopped: one that runs could start another behind the list's back."""
    found: set[psutil.Process] = set()
    limit = time.monotonic() + _STOP_SECONDS
    while new := family([root]) - found:
        for process in new:
            send(process, signal.SIGSTOP)
        found |= new
        while any(map(_runs_on, found)) and time.monotonic() < limit:
            time.sleep(_POLL_SECONDS)
    return found


def _runs_on(process: psutil.Process) -> bool:
    """Return whether a process that was told to stop has not done so yet."""
    with contextlib.suppress(psutil.Error):
        return process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_ZOMBIE)
    return False


def of_launch(folder: Path) -> set[psutil.Process]:
    """Return every process whose environment names this launch folder, whoever its parent is by now."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(FOLDER_VARIABLE) == str(folder):
                found.add(process)
    return found


def wait(processes: Iterable[psutil.Process], seconds: float) -> set[psutil.Process]:
    """Return those that still run after that time, or at once when none does.

    None is reaped: psutil's own wait would take the exit code of a child from the `Popen` it belongs to.
    """
    limit = time.monotonic() + seconds
    alive = set(filter(is_alive, processes))
    while alive and time.monotonic() < limit:
        time.sleep(_POLL_SECONDS)
        alive = set(filter(is_alive, alive))
    return alive


def end(processes: set[psutil.Process], copiers: set[int], grace_seconds: float) -> int:
    """End processes: SIGTERM, and SIGKILL after the grace time. Return how many it took SIGKILL to end.

    Those that copy output (by pid) end by themselves when the last writer has; only then are they made to.
    """
    writers = {process for process in processes if process.pid not in copiers}
    for process in writers:
        send(process, signal.SIGTERM)
    killed = kill(wait(writers, grace_seconds))
    kill(wait(processes - writers, _DRAIN_SECONDS))
    return killed


def kill(processes: Iterable[psutil.Process]) -> int:
    """Kill processes, wait for their end, and return how many there were."""
    alive = set(filter(is_alive, processes))
    for process in alive:
        send(process, signal.SIGKILL)
    wait(alive, _DRAIN_SECONDS)
    return len(alive)

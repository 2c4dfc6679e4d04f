"""Find the processes of a launch, by the launch folder in their environment, signal them and end them."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from ..state_files import FOLDER_VARIABLE, RankState

_DRAIN_SECONDS = 2.0
_POLL_SECONDS = 0.01
_STOP_SECONDS = 1.0  # for a system call in progress, such as a fork


def find_process(state: RankState, folder: Path) -> psutil.Process | None:
    """Return the process that wrote a state; None where it is gone, even if another process has its pid now.

    Its environment tells it, not the time of its start: that one moves when the clock is set.
    """
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(state.pid)
        if _is_of_launch(process, folder):
            return process
    return None


def _is_of_launch(process: psutil.Process, folder: Path) -> bool:
    return process.environ().get(FOLDER_VARIABLE) == str(folder)


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process still runs; a zombie does not."""
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def send_signal(process: psutil.Process, signum: int) -> None:
    """Send a signal, unless the process is gone."""
    with contextlib.suppress(psutil.Error):
        process.send_signal(signum)


def with_descendants(processes: Iterable[psutil.Process]) -> set[psutil.Process]:
    """Return these processes and their present descendants."""
    found: set[psutil.Process] = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found |= {process, *process.children(recursive=True)}
    return found


def stop_with_descendants(root: psutil.Process) -> set[psutil.Process]:
    """Stop a process and all its descendants and return them: one that runs could start others while they are listed."""
    found: set[psutil.Process] = set()
    limit = time.monotonic() + _STOP_SECONDS
    while new := with_descendants([root]) - found:
        for process in new:
            send_signal(process, signal.SIGSTOP)
        found |= new
        while any(map(_is_not_stopped, found)) and time.monotonic() < limit:
            time.sleep(_POLL_SECONDS)
    return found


def _is_not_stopped(process: psutil.Process) -> bool:
    """Return whether a process has not stopped yet after SIGSTOP."""
    with contextlib.suppress(psutil.Error):
        return process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_ZOMBIE)
    return False


def find_processes_of_launch(folder: Path) -> set[psutil.Process]:
    """Return every process whose environment names this launch folder, whatever its parent."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if _is_of_launch(process, folder):
                found.add(process)
    return found


def wait_for_end(processes: Iterable[psutil.Process], seconds: float) -> set[psutil.Process]:
    """Wait until all have ended or the time has passed; return those that still run.

    It reaps none: psutil's own wait would take a child's exit code from its `Popen`.
    """
    limit = time.monotonic() + seconds
    alive = set(filter(is_alive, processes))
    while alive and time.monotonic() < limit:
        time.sleep(_POLL_SECONDS)
        alive = set(filter(is_alive, alive))
    return alive


def end_processes(processes: set[psutil.Process], copiers: set[int], grace_seconds: float) -> int:
    """End processes by SIGTERM, and by SIGKILL after the grace time; return how many needed SIGKILL.

    Those that copy output (given by pid) end by themselves after the last writer, so they are killed last.
    """
    writers = {process for process in processes if process.pid not in copiers}
    for process in writers:
        send_signal(process, signal.SIGTERM)
    killed = kill_processes(wait_for_end(writers, grace_seconds))
    kill_processes(wait_for_end(processes - writers, _DRAIN_SECONDS))
    return killed


def kill_processes(processes: Iterable[psutil.Process]) -> int:
    """Kill processes, wait for their end, and return how many there were."""
    alive = set(filter(is_alive, processes))
    for process in alive:
        send_signal(process, signal.SIGKILL)
    wait_for_end(alive, _DRAIN_SECONDS)
    return len(alive)

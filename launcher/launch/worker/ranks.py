"""Start the ranks of this machine, as torchrun's agent does, but without torch: they begin as soon as this process does.

It is run by path: `python ranks.py SCRIPT args`. The ranks keep the terminal. Their exit codes go to `agent.json`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The package may not be installed. Imports below are absolute, since a file that is run by path is in no package.
sys.path.insert(
    0, next(str(top) for top in Path(__file__).absolute().parents if (top / "slipway/__init__.py").is_file())
)

import signal
import subprocess
import time
from collections.abc import Iterable
from typing import Any

from slipway.launcher.common.ports import DEFAULT_PORT
from slipway.launcher.launch.environment import World, rank_variables
from slipway.launcher.launch.state_files import AGENT_FILE, AGENT_LOG, PARENT_VARIABLE, AgentReport, write_record
from slipway.launcher.launch.worker.keeping import begin

_CHILD = str(Path(__file__).with_name("child.py"))
_POLL_SECONDS = 0.05


def main() -> int:
    """Start the ranks and wait for them; return 0 where all ended well. One that fails ends the others, as SIGTERM does."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, _: stopped.append(signum))
    kept = begin(signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
    world = _world(kept.plan)
    try:
        ranks = [_start(rank_variables(rank, world)) for rank in range(world.local_size)]
    except OSError as error:  # no process, or no memory, to be had
        (kept.folder / AGENT_LOG).write_text(f"{error}\n", encoding="utf-8")
        return 1
    while _are_running(ranks) and not stopped and not any(rank.returncode for rank in ranks):
        time.sleep(_POLL_SECONDS)
    if not stopped and not any(rank.returncode for rank in ranks):
        return 0
    _end(ranks, kept.launch["grace_seconds"])
    codes = {str(number): rank.returncode for number, rank in enumerate(ranks, world.first_rank) if rank.returncode}
    write_record(kept.folder / AGENT_FILE, AgentReport(exit_codes=codes))
    return 1


def _world(plan: dict[str, Any]) -> World:
    """Return the world of a plan, as its file has it."""
    size, machines, this = plan["num_processes"], plan["num_machines"], plan["machine_rank"]
    counts = plan["processes_per_host"] or [size // machines] * machines
    return World(
        size=size,
        first_rank=sum(counts[:this]),
        local_size=counts[this],
        machine_rank=this,
        num_machines=machines,
        address=plan["main_process_ip"] if machines > 1 else "127.0.0.1",
        port=plan["main_process_port"] or DEFAULT_PORT,
    )


def _start(variables: dict[str, str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **variables, PARENT_VARIABLE: str(os.getpid())}
    return subprocess.Popen([sys.executable, "-u", _CHILD, *sys.argv[1:]], env=environment)


def _are_running(ranks: Iterable[subprocess.Popen[bytes]]) -> list[subprocess.Popen[bytes]]:
    """Return those that run; all others are reaped, so that their pids are gone."""
    return [rank for rank in ranks if rank.poll() is None]


def _end(ranks: Iterable[subprocess.Popen[bytes]], grace_seconds: float) -> None:
    """End the ranks that still run by SIGTERM, and by SIGKILL after the grace time."""
    running = _are_running(ranks)
    for rank in running:
        rank.terminate()
    limit = time.monotonic() + grace_seconds
    while _are_running(running) and time.monotonic() < limit:
        time.sleep(_POLL_SECONDS)
    for rank in running:
        rank.kill()
        rank.wait()


if __name__ == "__main__":
    sys.exit(main())

"""Files of a launch folder: the launch, and for each process its pid and how it ended."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from ...training.common.errors import UserError
from ...training.common.json_records import from_json, to_json
from ...training.common.program.redaction import without_secrets

PLAN_FILE = "plan.json"
CONFIG_FILE = "config.yaml"
LAUNCH_FILE = "launch.json"
AGENT_FILE = "agent.json"
AGENT_LOG = "agent.log"
PROGRESS_FILE = "progress"  # written by training/observers/launch_mark.py

_BLOCK_BYTES = 4096
"""What a file of a few bytes takes of a disk."""

# Variables that the launcher sets for the processes, beside those of the plan.
FOLDER_VARIABLE = "SLIPWAY_LAUNCH_FOLDER"
PARENT_VARIABLE = "SLIPWAY_PARENT"  # the pid of the parent, whose end ends the process; removed before the script runs
RESTART_VARIABLE = "SLIPWAY_RESTART"  # 1 for the first restart; not set at the first start


@dataclass(frozen=True, kw_only=True)
class RankState:
    """The state of one process. Times are seconds since 1970. A process that a signal ends writes no end."""

    rank: int
    local_rank: int
    pid: int
    started_at: float
    output_pid: int | None = None  # of the process that copies its output to the log
    exit_code: int | None = None
    ended_at: float | None = None
    error: str | None = None  # `ValueError: message`
    traceback: str | None = None
    lost_peer: bool = False  # the error means that another process is gone


@dataclass(frozen=True, kw_only=True)
class LaunchRecord:
    """A launch: its launcher, its command, and the time that a process has to end."""

    launcher_pid: int
    started_at: float
    grace_seconds: float
    argv: tuple[str, ...]
    folder: str  # the working directory
    host: str = ""  # where the launcher runs
    job: str = ""  # of a cluster, whose starts belong together


@dataclass(frozen=True, kw_only=True)
class AgentReport:
    """The exit codes of the workers of torchrun's agent by global rank: minus the number where a signal ended one."""

    exit_codes: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class LaunchProgress:
    """The runs that Slipway's training has begun in a launch, the newest last, and the optimizer steps done in that one."""

    step: int
    runs: tuple[Path, ...]


def log_path(folder: Path, rank: int) -> Path:
    """Return the log of a rank."""
    return folder / f"rank_{rank}.log"


def write_record(path: Path, record: object) -> None:
    """Write a record so that a reader finds the old or the new one complete.

    On a full disk it takes the place of the old one in its file, where there is room. Raises `OSError`.
    """
    text = without_secrets(to_json(record)) + "\n"
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        if not path.exists() or len(text.encode()) > _BLOCK_BYTES:
            raise
        with path.open("r+", encoding="utf-8") as file:
            file.write(text)
            file.truncate()


def write_state(folder: Path, state: RankState) -> None:
    """Write the state of a rank."""
    write_record(folder / f"rank_{state.rank}.json", state)


def state_stamps(folder: Path) -> dict[str, int]:
    """Return when each state was written (ns), by file name. It is cheaper than reading them all."""
    with os.scandir(folder) as entries:
        found = {}
        for entry in entries:
            if entry.name.startswith("rank_") and entry.name.endswith(".json"):
                with contextlib.suppress(OSError):
                    found[entry.name] = entry.stat().st_mtime_ns
        return found


def read_states(folder: Path) -> dict[int, RankState]:
    """Return the states by rank; one that cannot be read is left out."""
    found: dict[int, RankState] = {}
    for path in sorted(folder.glob("rank_*.json")):
        with contextlib.suppress(OSError, UserError):
            state = from_json(RankState, 1, path.read_text(encoding="utf-8"), str(path), remake="")
            found[state.rank] = state
    return found


def read_agent_report(folder: Path) -> dict[int, int]:
    """Return the exit codes in the agent's report by rank; none where there is no report."""
    path = folder / AGENT_FILE
    with contextlib.suppress(OSError, UserError, ValueError):
        report = from_json(AgentReport, 1, path.read_text(encoding="utf-8"), str(path), remake="")
        return {int(rank): code for rank, code in report.exit_codes.items()}
    return {}


def read_progress(launch_folder: Path) -> LaunchProgress | None:
    """Return what the training wrote to the folder of a start; None where it has begun no run."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        step, *runs = (launch_folder / PROGRESS_FILE).read_text(encoding="utf-8").splitlines()
        return LaunchProgress(step=int(step), runs=tuple(Path(json.loads(line)) for line in runs))
    return None

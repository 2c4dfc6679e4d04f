"""The folder of a launch: the plan, the config, the logs and the states of its processes. Old folders are removed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from ...training.common.errors import UserError
from ...training.common.small_files import make_folders, read_json
from .state_files import LAUNCH_FILE, read_progress

DEFAULT_LOG_DIR = Path("runs") / ".launches"
_KEPT_LAUNCHES = 20
_NAME = re.compile(r"\d{8}T\d{6}Z-(\d+)(-\d+)?")


def next_folder(log_dir: Path) -> Path:
    """Return the absolute path of a new launch folder, named by UTC time and process id: `20260131T235959Z-4711`."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}"
    path = log_dir.absolute() / name
    number = 1
    while path.exists():
        number += 1
        path = path.with_name(f"{name}-{number}")
    return path


def create(folder: Path, files: Mapping[str, str]) -> None:
    """Create the folder with these files, and remove old launch folders beside it. Raises `UserError`."""
    try:
        make_folders(folder.parent)
        folder.mkdir()
        write(folder, files)
    except OSError as error:
        raise UserError(f"--log-dir {folder.parent}: {error.strerror}; choose a folder that can be written") from None
    _remove_old(folder)


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write these files into the folder. Raises `OSError`."""
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")


def remove(folder: Path) -> None:
    """Remove the folder of a launch, and that of all launches unless others are in it."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


def _remove_old(newest: Path) -> None:
    """Remove launch folders of this host but the newest, and those whose launcher still runs; others may share the disk."""
    with contextlib.suppress(OSError):
        launches = sorted(path for path in newest.parent.iterdir() if path.is_dir() and _NAME.fullmatch(path.name))
        for path in launches[:-_KEPT_LAUNCHES]:
            match = _NAME.fullmatch(path.name)
            if match and _is_of_this_host(path) and not _is_running(int(match[1])):
                shutil.rmtree(path, ignore_errors=True)


def runs_begun(log_dir: Path, job: str) -> list[Path]:
    """Return the runs that earlier starts of a job had begun, on any host, in their order; those that are there still."""
    runs: dict[Path, None] = {}
    with contextlib.suppress(OSError):
        for launch in sorted(path for path in log_dir.iterdir() if _NAME.fullmatch(path.name) and _job_of(path) == job):
            for folder in (launch, *sorted(launch.glob("restart_*"), key=lambda path: len(path.name))):
                progress = read_progress(folder)
                runs.update(dict.fromkeys(progress.runs if progress else ()))
    return [run for run in runs if (run / "run.json").is_file()]


def _job_of(folder: Path) -> str | None:
    try:
        return str(read_json(folder / LAUNCH_FILE)["job"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_of_this_host(folder: Path) -> bool:
    try:
        return bool(read_json(folder / LAUNCH_FILE)["host"] == socket.gethostname())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def restart_folder(folder: Path, number: int) -> Path:
    """Return the path of the folder of restart 1, 2, ... inside the folder of its launch."""
    return folder / f"restart_{number}"


def remove_if_kept_elsewhere(folder: Path, num_logs: int) -> bool:
    """Remove a launch folder if all its logs, those of restarts too, also have a name in a run folder (a hard link).

    Return whether it was removed.
    """
    logs = list(folder.rglob("rank_*.log"))
    try:
        if len(logs) != num_logs or any(log.stat().st_nlink < 2 for log in logs):
            return False
    except OSError:
        return False
    remove(folder)
    return True

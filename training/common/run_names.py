"""Runs and checkpoints by their names: where they lie, and the record of a run. Needs no torch."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from .errors import UserError, nearest
from .small_files import UnreadableError, open_regular, read_json, reason_of

CHECKPOINTS = "checkpoints"
RECORD = "run.json"
REPORT = "report.html"
ANSWERS = "answers.json"
"""What the best weights answered: the worst mistakes, and how often which class is said for which."""


class Named(NamedTuple):
    """What `--resume` names."""

    run: Path
    """The run's folder."""
    checkpoint: Path | None
    """One of its checkpoints; None: the run, so its newest good one."""


def resolve_name(resume: str, runs_dir: Path) -> Named:
    """Return the run, and perhaps the checkpoint, that a path or a name in the folder of runs stands for.

    Raises `UserError`.
    """
    for path in (Path(resume), runs_dir / resume):
        if (path / RECORD).is_file():
            return Named(path, None)
        if path.is_dir() and path.absolute().parent.name == CHECKPOINTS:
            return Named(path.absolute().parent.parent, path)
    found = next((path for path in (Path(resume), runs_dir / resume) if path.is_dir()), None)
    if found is not None:
        raise UserError(f"--resume {resume}: no run there (no {RECORD} in {found})")
    known = [path.parent.name for path in runs_dir.glob(f"*/{RECORD}")]
    raise UserError(f"--resume {resume}: no such run or checkpoint, here or in {runs_dir}{nearest(resume, known)}")


def how_to_train_on(folder: Path) -> str:
    """Return what a finished run's user is told: the command, as given in this folder, that trains on in a new run."""
    runs = sorted(path.parent for path in folder.glob(f"*/{RECORD}"))
    run = runs[0] if runs else folder
    named = shlex.quote(run.name if run.parent == Path("runs").resolve() else str(run))
    whose = "the weights of one of its runs" if runs else "its weights"
    return f"`slipway continue {named} --epochs 10` goes on from {whose} in a new run"


def newest_run(runs_dir: Path, name: str) -> Path | None:
    """Return the newest of the runs `name`, `name-2`, `name-3`, ...; a folder without a record does not count."""
    pattern = re.compile(re.escape(name) + r"(?:-(\d+))?")
    found = [
        (int(match[1] or 1), path)
        for path in (runs_dir.iterdir() if runs_dir.is_dir() else ())
        if (match := pattern.fullmatch(path.name)) and (path / RECORD).is_file()
    ]
    return max(found)[1] if found else None


def read_record(folder: Path) -> dict[str, Any]:
    """Return a run's `run.json`, with the options that its version did not have named as it meant them. Raises `UserError`."""
    path = folder / RECORD
    try:
        record = read_json(path)
        if not isinstance(record["name"], str) or not isinstance(record["recipe"]["resolution"], dict):
            raise ValueError
        return with_later_options(record)
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}; name a run's folder with --resume") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path}: not the record of a run; start another run") from None


def with_later_options(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a run whose options say what they meant by what was no option, or had another value, then."""
    config, task = record.get("config"), (record.get("recipe") or {}).get("task")
    is_sign = (task.get("name") if isinstance(task, dict) else task) == "sign"
    if not isinstance(config, dict) or not is_sign or "normalise" in config:
        return record
    stages = config.get("stages_config")
    stages = "curriculum" if stages == "default" else stages
    return {**record, "config": {**config, "normalise": "clip", "hand_distances": False, "stages_config": stages}}


def is_held(folder: Path) -> bool:
    """Return whether a process trains a run: it has the lock, which the kernel releases when the process ends."""
    import fcntl

    try:
        with open_regular(folder / "lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except (OSError, UnreadableError):
        return False

"""What a person may do with a run that has ended, as commands to paste."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..common.run_names import RECORD
from ..common.small_files import UnreadableError, read_json

_TOP = Path(__file__).absolute().parents[3]
"""What `slipway` lies in: a clone, or `site-packages`."""
_ONNX = ("onnx", "onnxscript", "onnxruntime")


def next_steps(folder: Path) -> list[str]:
    """Return commands for the best weights of the run in `folder`: a prediction, and one file that predicts alone.

    Of a task that only a script can make it is what loads the model in Python.
    """
    spec, record = _read(folder / "best" / "spec.json"), _read(folder / RECORD)
    if not spec:
        return []
    if not ("layout" in spec or "task" in spec):
        return [f"slipway.load({str(folder)!r})  # the model, in Python"]
    run = shlex.quote(folder.name if folder.parent == Path("runs") else str(folder))
    data = record.get("data")
    is_synthetic = isinstance(data, Mapping) and data.get("synthetic") is True
    form = "onnx" if all(importlib.util.find_spec(name) for name in _ONNX) else "torch-export"
    command = typed_command()
    return [f"{command} predict {run} {'synthetic' if is_synthetic else 'DATA'}", f"{command} export {run} --to {form}"]


def typed_command() -> str:
    """Return how a person types `slipway` here: by name where the shell finds that of this Python, else by its path.

    Where the command is not installed it is `python -m slipway`. Paths are relative to the working folder if they lie in it.
    """
    # Not resolved: the python of a virtual environment is a link to that of the system.
    beside = Path(sys.executable).with_name("slipway")
    if os.access(beside, os.X_OK):
        found = shutil.which("slipway")
        return "slipway" if found is not None and os.path.samefile(found, beside) else shlex.quote(_short(beside))
    python = shutil.which("python3")
    is_first = python is not None and os.path.samefile(python, sys.executable)
    start = "python3" if is_first else shlex.quote(_short(Path(sys.executable)))
    is_found = Path.cwd() == _TOP.resolve() or _TOP.name in ("site-packages", "dist-packages")
    return f"{start} -m slipway" if is_found else f"PYTHONPATH={shlex.quote(_short(_TOP))} {start} -m slipway"


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _read(path: Path) -> Mapping[str, Any]:
    with suppress(OSError, UnreadableError):
        found = read_json(path)
        return found if isinstance(found, dict) else {}
    return {}

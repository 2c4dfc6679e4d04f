"""Asks the training package what its command line takes; imports it only when run as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from ...training.common.errors import UserError
from ..common.paths import python_path

if TYPE_CHECKING:
    from .command import Command

_TIME_LIMIT_SECONDS = 60.0  # a slow disk; it imports no torch


def ask_training() -> Command:
    """Return what `slipway train` takes. Raises `UserError` where the training package cannot be asked."""
    from ...training.common.conversion import from_mapping
    from .command import Command

    environment = {
        **os.environ,
        "PYTHONPATH": python_path(os.environ),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "slipway.launcher.completion.ask_training"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            timeout=_TIME_LIMIT_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"`slipway train` did not list its options within {_TIME_LIMIT_SECONDS:g} s") from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        raise UserError(f"`slipway train` cannot list its options: {last}") from None
    return from_mapping(Command, json.loads(done.stdout), "slipway train")


def _main() -> None:
    from dataclasses import asdict
    from importlib import import_module

    from .command import describe

    print(
        json.dumps(asdict(describe("train", import_module("slipway.training.run.cli").build_parser("slipway train"))))
    )


if __name__ == "__main__":
    _main()

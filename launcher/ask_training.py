"""Asks the training package what its command line takes; imports it only when run as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import UserError

if TYPE_CHECKING:
    from launcher.completion import Command

_PACKAGE_ROOT = Path(__file__).resolve().parents[1]
_TIME_LIMIT_SECONDS = 60.0  # a slow disk; it imports no torch


def ask_training() -> Command:
    """Return what `slipway train` takes. Raises `UserError` where the training package cannot be asked."""
    from launcher.completion import Command
    from launcher.records import from_data

    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH")])),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "launcher.ask_training"],
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
    command: Command = from_data(Command, json.loads(done.stdout), "slipway train")
    return command


def _main() -> None:
    from dataclasses import asdict

    from launcher.completion import describe
    from training.cli import build_parser

    print(json.dumps(asdict(describe("train", build_parser("slipway train")))))


if __name__ == "__main__":
    _main()

"""The programs of a cluster: running one, and what it said."""

from __future__ import annotations

import shutil
import subprocess

from ...training.common.errors import UserError
from ...training.common.program.shown import one_line

_SECONDS = 60.0
_LAST_LINES = 3


def run(program: str, *arguments: str, absent: str, silent: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; its exit code may be any.

    Raises:
        UserError: it is missing, which `absent` tells what to do about; it cannot be started; it does not answer (`silent`).
    """
    if shutil.which(program) is None:
        raise UserError(f"{program} is not installed here: {absent}")
    try:
        return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=_SECONDS, errors="replace")
    except subprocess.TimeoutExpired:
        raise UserError(f"{program} did not answer within {_SECONDS:.0f} s: {silent}") from None
    except OSError as error:
        raise UserError(f"{program} cannot be started: {error.strerror}") from None


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last lines of its standard error as one line, else its exit code."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return one_line("; ".join(lines[-_LAST_LINES:])) or f"exit code {done.returncode}"

"""What a process of a check does first and last: set a limit on its life, and write its report to a file."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ....training.common.program.lifeline import end_with_parent
from ...launch.state_files import PARENT_VARIABLE


@contextlib.contextmanager
def write_report(folder: str, limit_seconds: float) -> Iterator[dict[str, Any]]:
    """Yield a dictionary that is written to a file of the folder at the end, with `error` where the block raised.

    The process is killed when its parent ends and after the time limit, even when it is stuck in a library's C code.
    """
    end_with_parent(int(os.environ[PARENT_VARIABLE]), signal.SIGKILL, grace_seconds=0)
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, limit_seconds)
    report: dict[str, Any] = {"hostname": socket.gethostname(), "error": None}
    try:
        yield report
    except BaseException as error:
        first = (str(error).strip().splitlines() or [""])[0]
        report["error"] = f"{type(error).__name__}: {first}".rstrip(": ")
        raise
    finally:
        # Named by process id: where each process is wrongly rank 0, their reports must not overwrite each other.
        draft = Path(folder) / f".{os.getpid()}"
        draft.write_text(json.dumps(report), encoding="utf-8")
        draft.replace(Path(folder) / f"{os.getpid()}.json")

"""A trial as a run of `slipway train` in a process of its own, whose journal is followed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...training.common.errors import EXIT_BAD_INPUT, EXIT_RESUMABLE
from ...training.common.run_names import RECORD
from ...training.common.small_files import UnreadableError, read_small_text
from ...training.observers.own_command import command_words
from ..common.run_files import JOURNAL, record_of
from ..common.values import number, text
from ..watch.follow import JournalTail

_GRACE_SECONDS = 60.0
"""For a run that is asked to end, in which it saves itself."""
_PROGRAM = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from slipway.training.common.program.lifeline import end_with_parent
end_with_parent(int(sys.argv[2]), signal.SIGTERM, float(sys.argv[3]))
os.execv(sys.argv[4], sys.argv[4:])
"""
"""Ties the process to the sweep, and becomes the training: the kernel keeps the tie, also where the sweep is killed."""
_MOST_SAID = 1 << 16


class TrialRun:
    """A run that is one trial of a sweep; it goes on from its checkpoint where it was begun before."""

    def __init__(self, folder: Path, words: list[str], *, goes_on: bool) -> None:
        self.folder = folder
        self._log = folder.with_name(f"{folder.name}.log")
        self._tail = JournalTail(folder / JOURNAL)
        self._deadline: float | None = None
        begun = ["--resume", "auto"] if goes_on and (folder / RECORD).is_file() else ["--overwrite"]
        command = command_words(
            "train", *words, "--experiment-name", folder.name, "--runs-dir", str(folder.parent), "--no-test", *begun
        )
        top = command[4]
        tied = [sys.executable, "-P", "-c", _PROGRAM, top, str(os.getpid()), str(_GRACE_SECONDS), *command]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                tied, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def record(self) -> Mapping[str, Any]:
        """Return the run's `run.json` as it is; empty before there is one."""
        return record_of(self.folder) if (self.folder / RECORD).is_file() else {}

    def epochs(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield the number from 1 and the validation of each epoch that ended since the last call."""
        for event in self._tail.read():
            if event.get("event") == "epoch" and (epoch := number(event, "epoch")) is not None:
                yield int(epoch) + 1, event.get("validation") or {}

    def stop(self) -> None:
        """Ask the run to save itself and end."""
        if self._deadline is None and self._process.poll() is None:
            self._deadline = time.monotonic() + _GRACE_SECONDS
            self._process.send_signal(signal.SIGTERM)

    def exit_code(self) -> int | None:
        """Return its exit code, or None while it runs; a run that does not end when it is asked to is killed."""
        code = self._process.poll()
        if code is None and self._deadline is not None and time.monotonic() > self._deadline:
            self._process.kill()
            code = self._process.wait()
        return code

    def reason(self) -> str:
        """Return in one line why it failed."""
        try:
            said = read_small_text(self._log, _MOST_SAID) if self._log.stat().st_size <= _MOST_SAID else ""
        except (OSError, UnreadableError):
            said = ""
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        if errors:
            return errors[-1].removeprefix("error: ")
        return text(self.record(), "error") or f"exit code {self._process.returncode}; see {self._log}"


def is_bad_input(code: int) -> bool:
    """Return whether a run ended for what the user can fix."""
    return code == EXIT_BAD_INPUT


def can_go_on(code: int) -> bool:
    """Return whether a run was stopped and has saved itself."""
    return code == EXIT_RESUMABLE or code < 0

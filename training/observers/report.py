"""Has the report of a run made at its end, by a process of its own: a failure there, or a long wait, is none of the run."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from ..common.program.redaction import without_secrets
from ..common.run_names import RECORD, REPORT
from .events import Observer, RunEnd, StudyEnd
from .next_steps import next_steps
from .own_command import command_words

_LONGEST_SECONDS = 60.0
"""After which it is given up; it takes about a second of a core."""


class Screen(Protocol):
    """What the report tells a person by."""

    def say(self, level: int, kind: str, text: str) -> None:
        """Print a message."""

    def show_report(self, path: Path, steps: Sequence[str]) -> None:
        """Print what may be done next, and where the report is."""


class Reporter(Observer):
    """Makes the reports of the runs that came to their end, once nothing else is left to do, and says where they are."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._folders: list[Path] = []
        self._study: Path | None = None

    def on_run_end(self, event: RunEnd) -> None:
        """Remember the run: its record and journal are still written."""
        if (event.folder / RECORD).is_file() and event.folder not in self._folders:
            self._folders.append(event.folder)

    def on_study_end(self, event: StudyEnd) -> None:
        """Remember the study: its page shows its runs together."""
        if len(event.result.get("runs", ())) > 1:
            self._study = event.folder

    def close(self) -> None:
        """Make the reports; of a study that of all its runs is the one that is told."""
        folders, self._folders = self._folders, []
        if not folders:
            return
        if self._study is not None:
            folders.append(self._study)
        problem = make_reports(folders, lambda remark: self._screen.say(logging.INFO, "report", remark))
        made = [folder / REPORT for folder in folders if (folder / REPORT).is_file()]
        if problem:
            command = f"slipway report {' '.join(map(str, folders[:3]))}"
            self._screen.say(logging.WARNING, "report", f"no report was made: {problem}; `{command}` tries again")
            return
        for path in made[-1:] if self._study is not None else made:
            self._screen.show_report(path, next_steps(path.parent))


def make_reports(folders: Sequence[Path], remark: Callable[[str], None]) -> str:
    """Make the reports of runs and wait for them; return why that failed, or an empty text."""
    words = command_words("report", "--", *map(str, folders))
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LONGEST_SECONDS,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it took longer than {_LONGEST_SECONDS:.0f} s"
    except OSError as error:
        return str(error.strerror)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    if done.returncode:
        return without_secrets(lines[-1].removeprefix("error: ")) if lines else f"exit code {done.returncode}"
    for line in lines:
        remark(line)
    return ""

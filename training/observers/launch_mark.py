"""Reports to the launcher which run this is and which step it has done, even if this process is killed the next moment."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from ..common.program.private import open_file
from .events import Observer, RunEnd, RunResumed, StepEnd

MARK = "progress"
"""The file's name in the launch folder: the step, then a line of JSON for each run of this launch, the newest last."""


class LaunchMark(Observer):
    """Keeps the file `progress` in the folder of the launch; does nothing if there is no launch, or no room.

    The kernel has a step as soon as it is written, so nothing is lost with the process. A write costs microseconds.
    """

    def __init__(self, launch_folder: str | None, run_folder: Path) -> None:
        self._file: int | None = None
        self._step = self._steps_before = 0
        if launch_folder:
            with suppress(OSError):
                # No folder is made here: a launch removes its folder when it ends.
                self._file = open_file(Path(launch_folder) / MARK, os.O_RDWR)
                self._write(0)
                run = json.dumps(str(run_folder.resolve())) + "\n"
                os.pwrite(self._file, run.encode(), os.fstat(self._file).st_size)

    def on_step(self, event: StepEnd) -> None:
        """Note the step."""
        self._step = event.step
        self._write(self._steps_before + event.step)

    def on_run_resumed(self, event: RunResumed) -> None:
        """Note the step from which a resumed run continues."""
        self._step = event.step
        self._write(self._steps_before + event.step)

    def on_run_end(self, event: RunEnd) -> None:
        """Count the steps of the next run of a study after those of this one."""
        self.count_finished(self._step)

    def count_finished(self, steps: int) -> None:
        """Count the steps of a run of the study that is finished."""
        self._step, self._steps_before = 0, self._steps_before + steps
        self._write(self._steps_before)

    def _write(self, step: int) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.pwrite(self._file, f"{step:020d}\n".encode(), 0)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

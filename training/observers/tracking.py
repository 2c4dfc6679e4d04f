"""Starts the process that feeds experiment trackers from the journal. What fails there is told once, and stops no run."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..common.plan_file import PLAN_VARIABLE
from ..common.program.launched import LAUNCH_VARIABLES
from ..common.program.shown import one_line
from .events import Decision, EpochEnd, Observer, Observers, RunEnd, RunStart, StepEnd
from .own_command import command_words

logger = logging.getLogger("slipway")

_LOOK_SECONDS = 1.0
_LONGEST_SECONDS = 30.0
"""How long a finished run waits for the last points, while they are taken; the process gives up earlier on what hangs."""
_LONGEST_AFTER_STOP_SECONDS = 5.0
"""The same of a run that was stopped or failed, whose process may have to end soon."""


class Tracking(Observer):
    """Has the numbers of a run sent to trackers by a process of its own, which follows the journal.

    The run waits for it at its end only, for a bounded time. Add it before the journal: it is then closed after it, when
    every event is written.
    """

    def __init__(self, trackers: Sequence[str], project: str, observers: Observers) -> None:
        self._trackers, self._project, self._observers = tuple(trackers), project, observers
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()
        self._said = b""
        self._next_look = 0.0
        self._is_finished = self._is_closing = False
        self._troubled: set[str] = set()

    def on_run_start(self, event: RunStart) -> None:
        """Start the process."""
        self._folder = event.folder
        asked = ["--follow", "--tracker", ",".join(self._trackers), "--tracker-project", self._project]
        try:
            self._process = subprocess.Popen(
                command_words("track", *asked, "--", os.fspath(event.folder)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_outside_of_the_launch(os.environ),
                start_new_session=True,  # Ctrl-C is the run's
            )
        except OSError as error:
            self._tell(self._trackers, f"no process can be started ({error.strerror})")
            return
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def on_step(self, event: StepEnd) -> None:
        """Look at times what the process says."""
        if (now := time.monotonic()) >= self._next_look:
            self._next_look = now + _LOOK_SECONDS
            self._look()

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Look what the process says."""
        self._look()

    def on_run_end(self, event: RunEnd) -> None:
        """Note that the run came to its end."""
        self._is_finished = True

    def close(self) -> None:
        """Wait for a bounded time until the last points are sent; end the process."""
        self._is_closing = True  # the journal is closed
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with contextlib.suppress(OSError):
                process.stdin.close()  # which tells it that the run is over
            longest = _LONGEST_SECONDS if self._is_finished else _LONGEST_AFTER_STOP_SECONDS
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(longest)
            self._read(process)
            if process.poll() != 0:
                self._tell(self._trackers, _end_of(process))
        finally:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()

    def _look(self) -> None:
        process = self._process
        if process is None:
            return
        ended = process.poll() is not None
        self._read(process)
        if ended:
            self._tell(self._trackers, _end_of(process))
            self._process = None
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    stream.close()  # type: ignore[union-attr]

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Read what the process says, without waiting."""
        assert process.stdout is not None
        with contextlib.suppress(BlockingIOError):
            while content := os.read(process.stdout.fileno(), 1 << 16):
                *lines, self._said = (self._said + content).split(b"\n")
                for line in lines:
                    message = json.loads(line)
                    self._tell([message["tracker"]], message["trouble"])

    def _tell(self, trackers: Sequence[str], trouble: str) -> None:
        """Tell a person, once for each tracker, what it does not do."""
        new = [name for name in trackers if name not in self._troubled]
        if not new:
            return
        self._troubled.update(new)
        command = f"slipway track {self._folder} --tracker {','.join(new)}"
        what = "the run is not affected" if self._is_closing else "training goes on"
        reason = one_line(f"{', '.join(new)}: {trouble}; {what}, and `{command}` sends later what is missing")
        if self._is_closing:
            logger.warning("%s", reason)
            return
        fields = {"tracker": ", ".join(new)}
        self._observers.on_decision(Decision(kind="tracker_failed", reason=reason, warning=True, fields=fields))


def _end_of(process: subprocess.Popen[bytes]) -> str:
    code = process.poll()
    return "the last points were not taken in time" if code is None else f"its process ended with code {code}"


def _outside_of_the_launch(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without those that make a process one of a launch, with one thread for numbers and no device."""
    left = {
        name: value
        for name, value in environment.items()
        if name not in (*LAUNCH_VARIABLES, PLAN_VARIABLE) and not name.startswith(("ACCELERATE_", "TORCHELASTIC_"))
    }
    return {**left, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}

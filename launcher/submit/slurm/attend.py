"""Run in the batch script of a job: starts its step, has it save when the job's time is up, and requeues the job."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from ....training.common.errors import EXIT_BAD_INPUT, EXIT_RESUMABLE

_STOPPED = (EXIT_RESUMABLE, 128 + signal.SIGTERM)
"""Exit codes of a launch that was told to stop, with all saved or not."""
_PREEMPTED = re.compile(r"\bJobState=(?:RUNNING|PREEMPTED)\b.*\bPreemptTime=\d")
_ANSWER_SECONDS = 20.0
_REQUEUED_SECONDS = 60.0
"""How long SLURM may take to end a script whose job it has requeued."""


def main(arguments: Sequence[str]) -> int:
    """Run a command as the step of the job, `MAX_REQUEUES COMMAND ...`; return its exit code.

    SIGUSR1, by which SLURM tells that the time is up, is passed on, so that the training saves and exits with 75; then the
    job is requeued, unless it was as often as it may be. So is one from which SLURM takes the nodes, since a job that ends
    within the time it is given then would be over. A job that was cancelled stays so.
    """
    most, command = int(arguments[0]), list(arguments[1:])
    restarts = int(os.environ.get("SLURM_RESTART_COUNT") or 0)
    if restarts > most:
        _say(f"was started again {most} times already: it is given up")
        return EXIT_RESUMABLE
    step = _Step()
    code = step.run(command)
    if code not in _STOPPED or not (step.was_told_to_save or _is_preempted()):
        return code
    if restarts >= most:
        _say(f"was stopped, and was started again {most} times: it is given up, and can be resumed")
    elif _requeue():
        _say(f"was stopped, and goes back to the queue, {restarts + 1} of at most {most} times")
        time.sleep(_REQUEUED_SECONDS)
    else:
        _say("was stopped, and cannot be requeued here: hand it in again, its run can be resumed")
    return code


class _Step:
    def __init__(self) -> None:
        self.was_told_to_save = False
        self._process: subprocess.Popen[bytes] | None = None
        signal.signal(signal.SIGUSR1, self._save)
        signal.signal(signal.SIGTERM, self._stay)

    def run(self, command: Sequence[str]) -> int:
        """Return the exit code of a command, 128 + N where signal N ended it."""
        try:
            self._process = subprocess.Popen(command)
        except OSError as error:
            _say(f"cannot start {command[0]} ({error.strerror})")
            return EXIT_BAD_INPUT
        if self.was_told_to_save:
            self._process.send_signal(signal.SIGUSR1)
        code = self._process.wait()
        return code if code >= 0 else 128 - code

    def _save(self, signum: int, frame: FrameType | None) -> None:
        self.was_told_to_save = True
        if self._process is not None:
            self._process.send_signal(signal.SIGUSR1)

    def _stay(self, signum: int, frame: FrameType | None) -> None:
        """Wait for the step, which SLURM tells itself."""


def _is_preempted() -> bool:
    """Return whether SLURM takes the nodes from this job; one that was cancelled is not running any more."""
    command = ("scontrol", "--oneliner", "show", "job", os.environ.get("SLURM_JOB_ID", ""))
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_SECONDS).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    return _PREEMPTED.search(said) is not None


def _requeue() -> bool:
    command = ("scontrol", "requeue", os.environ.get("SLURM_JOB_ID", ""))
    try:
        return subprocess.run(command).returncode == 0
    except OSError:
        return False


def _say(what: str) -> None:
    print(f"slipway: job {os.environ.get('SLURM_JOB_ID')} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

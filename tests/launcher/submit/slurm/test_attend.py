"""What the batch script does: the step saves when the time is up, and the job goes back to the queue, not for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

STEP = """
import os, signal, sys
told = []
signal.signal(signal.SIGUSR1, lambda *_: told.append("USR1"))
if sys.argv[2].startswith("SIG"):
    os.kill(os.getppid(), getattr(signal, sys.argv[2]))
    while sys.argv[2] == "SIGUSR1" and not told:
        signal.pause()
print("step", *told, flush=True)
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("code", "told", "restarts", "ends", "said"),
    [
        (0, "nothing", 0, 0, "step\n"),
        (3, "nothing", 0, 3, "step\n"),
        (75, "nothing", 0, 75, "step\n"),  # somebody else has stopped it
        (75, "SIGUSR1", 19, 75, "step USR1\nrequeue 7\n"),
        (75, "SIGUSR1", 20, 75, "step USR1\n"),
        (0, "SIGUSR1", 0, 0, "step USR1\n"),  # it was over by then
        (75, "SIGTERM", 0, 75, "step\n"),  # it was cancelled, or SLURM requeues it by itself
        (0, "nothing", 21, 75, ""),
        (75, "preempted", 0, 75, "step\nrequeue 7\n"),  # which would end it, since it is over before its time is
        (143, "preempted", 0, 143, "step\nrequeue 7\n"),
        (0, "preempted", 0, 0, "step\n"),
    ],
)
def test_a_job_goes_back_to_the_queue_once_it_was_told_to_save(
    code: int, told: str, restarts: int, ends: int, said: str, tmp_path: Path
) -> None:
    scontrol = tmp_path / "scontrol"
    shown = "JobId=7 JobState=RUNNING PreemptTime=2026-11-29T11:34:35" if told == "preempted" else "JobState=CANCELLED"
    # As SLURM ends the script of a job that it has requeued.
    scontrol.write_text(f'#!/bin/sh\n[ $1 = --oneliner ] && exec echo "{shown}"\necho "$@"\nkill -9 $PPID\n')
    scontrol.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment |= {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restarts)}
    step = [sys.executable, "-c", STEP, str(code), told]
    command = [sys.executable, "-P", "-m", "slipway.launcher.submit.slurm.attend", "20", *step]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (-9 if "requeue" in said else ends, said)


def test_a_job_that_cannot_be_requeued_says_so_and_keeps_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "scontrol").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "scontrol").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SLURM_JOB_ID": "7",
    }
    step = [sys.executable, "-c", STEP, "75", "SIGUSR1"]
    command = [sys.executable, "-P", "-m", "slipway.launcher.submit.slurm.attend", "20", *step]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 75
    assert "job 7 was stopped, and cannot be requeued here: hand it in again" in done.stderr

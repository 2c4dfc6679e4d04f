"""Ends a process that does not even let its own threads run; a program of its own, which `Watchdog` starts.

Time in which that process, this one, or the machine stood still from outside (SIGSTOP, Ctrl-Z, sleep) does not count.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_LONGEST_POLL_SECONDS = 5.0
_MOST_BYTES = 1 << 16
_GRACE_SECONDS = 2.0


def main(pid: int, limit_seconds: float) -> None:
    """Send SIGABRT to the process that started this one, `pid`, unless it writes to stdin within the limit, again and again."""
    poll = min(_LONGEST_POLL_SECONDS, limit_seconds / 20)
    whole = limit_seconds + _GRACE_SECONDS  # by then it has written its stacks
    left, looked = whole, time.monotonic()
    while left > 0:
        can_read, _, _ = select.select([0], [], [], poll)
        if os.getppid() != pid or (can_read and not os.read(0, _MOST_BYTES)):
            return
        now = time.monotonic()
        if can_read:
            left = whole
        elif not is_stopped(pid):
            left -= min(now - looked, 2 * poll)
        looked = now
    os.write(2, f"\nerror: process {pid} let none of its threads run for {limit_seconds:g} s\n".encode())
    os.kill(pid, signal.SIGABRT)
    time.sleep(_GRACE_SECONDS)
    if os.getppid() == pid:
        os.kill(pid, signal.SIGKILL)


def is_stopped(pid: int) -> bool:
    """Return whether a process is stopped, by a signal or a debugger."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except OSError:  # no Linux
        command = ["ps", "-o", "state=", "-p", str(pid)]
        state = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return state.strip()[:1] in ("T", "t")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))

"""End a process when its parent ends, however the parent ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time

_POLL_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1


def end_with_parent(parent_pid: int, signum: int, grace_seconds: float) -> None:
    """Send this process `signum` when its parent is gone, and SIGKILL if it still runs after the grace time.

    `parent_pid` is the process that started this one. Call it first, in the main thread: on Linux the kernel sends its
    signal when the thread of the parent that forked this process ends.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            import ctypes

            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
    if os.getppid() != parent_pid:
        # The parent ended before the call above.
        os.kill(os.getpid(), signum)
    watch = threading.Thread(
        target=_watch, args=(parent_pid, signum, grace_seconds), name="slipway-lifeline", daemon=True
    )
    with contextlib.suppress(RuntimeError):  # no thread to be had: the kernel's signal has to do
        watch.start()


def _watch(parent_pid: int, signum: int, grace_seconds: float) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_POLL_SECONDS)
    if sys.platform != "linux":
        os.kill(os.getpid(), signum)
    time.sleep(grace_seconds)
    # The signal was caught or ignored.
    _kill_descendants()
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_descendants() -> None:
    import psutil  # needed only here

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()

"""A process that ends with its parent, however the parent ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time

_LOOK_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1


def end_with_parent(parent_pid: int, signum: int, grace_seconds: float) -> None:
    """Have this process get `signum` when its parent is gone, and be killed after the grace time if it is still there.

    `parent_pid` is the parent that started it. Call it first thing, in the main thread: the kernel's signal (Linux) is
    for the parent's thread that forked.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            import ctypes

            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
    if os.getppid() != parent_pid:
        # It went before the kernel was asked.
        os.kill(os.getpid(), signum)
    watch = threading.Thread(
        target=_watch, args=(parent_pid, signum, grace_seconds), name="slipway-lifeline", daemon=True
    )
    watch.start()


def _watch(parent_pid: int, signum: int, grace_seconds: float) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_LOOK_SECONDS)
    if sys.platform != "linux":
        os.kill(os.getpid(), signum)
    time.sleep(grace_seconds)
    # The signal was caught or ignored, and nobody is left to insist.
    _kill_descendants()
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_descendants() -> None:
    import psutil  # a process that ends well starts without it

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()

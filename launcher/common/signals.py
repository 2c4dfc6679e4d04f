"""Queue the signals that the launcher gets, with whether the terminal sent them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

FORWARDED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_FROM_TERMINAL = (signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True)
class ReceivedSignal:
    """A signal; `to_group` where the terminal sent it to every process of the foreground group."""

    signum: int
    to_group: bool


def in_foreground() -> bool:
    """Return whether this process is in the foreground group of the terminal, which gets the terminal's signals."""
    with contextlib.suppress(OSError):
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    return False


def in_background() -> bool:
    """Return whether another process group, such as the shell, has the terminal that stdin is."""
    with contextlib.suppress(OSError):
        return os.isatty(0) and os.tcgetpgrp(0) != os.getpgrp()
    return False


class SignalQueue:
    """Queue the signals of `FORWARDED_SIGNALS` while it is entered, but for ignored ones (SIGHUP under nohup).

    On Linux, which tells who sent a signal, they are blocked and waited for, so a process started meanwhile must unblock
    them. Elsewhere, and where another thread of this process gets the signal, SIGINT counts as sent by the terminal.
    """

    def __init__(self) -> None:
        self._watched = {one for one in FORWARDED_SIGNALS if signal.getsignal(one) != signal.SIG_IGN}
        self._waits = sys.platform == "linux"
        self._queue: deque[int] = deque()
        self._previous: dict[int, Any] = {}
        self._last: signal.struct_siginfo | None = None

    def __enter__(self) -> SignalQueue:
        for one in (*self._watched, signal.SIGCHLD):  # an ignored SIGCHLD would lose exit codes
            self._previous[one] = signal.signal(one, self._keep)
        if self._waits:
            self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*self._watched, signal.SIGCHLD})
        else:
            self._reader, self._writer = socket.socketpair()
            self._writer.setblocking(False)
            self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._waits:
            while signal.sigtimedwait({*self._watched, signal.SIGCHLD}, 0):
                pass
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        else:
            signal.set_wakeup_fd(self._wakeup)
            self._reader.close()
            self._writer.close()
        for one, handler in self._previous.items():
            signal.signal(one, handler or signal.SIG_DFL)  # None: not set by Python

    def next(self, timeout_seconds: float) -> ReceivedSignal | None:
        """Return the next signal, or None: after the time, or as soon as a process has ended."""
        if self._waits and not self._queue:
            info = self._wait(timeout_seconds)
            if info is not None and info.si_signo != signal.SIGCHLD:
                # The code is above 0 for a signal of the kernel, 0 or less for one that a process sent.
                return ReceivedSignal(signum=info.si_signo, to_group=info.si_code > 0)
        elif not self._queue:
            with contextlib.suppress(OSError):
                select.select([self._reader], [], [], timeout_seconds)
                self._reader.recv(4096, socket.MSG_DONTWAIT)
        if not self._queue:
            return None
        signum = self._queue.popleft()
        return ReceivedSignal(signum=signum, to_group=signum in _FROM_TERMINAL)

    def _wait(self, timeout_seconds: float) -> signal.struct_siginfo | None:
        """Return the next signal, SIGCHLD too, or None after the time.

        Where the time passes while this process is stopped, Python returns what happens to be in memory: the signal before, or
        a number that is none.
        """
        limit = time.monotonic() + timeout_seconds
        info = signal.sigtimedwait({*self._watched, signal.SIGCHLD}, timeout_seconds)
        is_late = time.monotonic() >= limit
        if info is None or (is_late and (info == self._last or info.si_signo not in {*self._watched, signal.SIGCHLD})):
            return None
        self._last = info
        return info

    def _keep(self, signum: int, frame: FrameType | None) -> None:
        if signum != signal.SIGCHLD:
            self._queue.append(signum)

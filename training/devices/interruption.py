"""Turn signals into a request to stop, on which the ranks agree at a step boundary."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any

from ..common.errors import EXIT_RESUMABLE

_SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2")

_SAME_PRESS_SECONDS = 0.5
"""One press of Ctrl-C may arrive twice: from the terminal and from a launcher."""


class Interrupted(SystemExit):
    """Training stopped at a step boundary because a signal asked for it; the message says where, and how to resume.

    A script that does not catch it ends with exit code 75, which launchers and schedulers know.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(EXIT_RESUMABLE)
        self._message = message

    def __str__(self) -> str:
        return self._message


class StopRequest:
    """Handles the signals that ask a run to stop.

    The first one asks to stop after the present step; a second Ctrl-C interrupts at once. Signals are handled only in the
    main thread of a program: elsewhere the request is never set.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        """The first signal that asked to stop; `None`: there was none."""
        self._pressed_at: float | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for name in _SIGNALS:
                if hasattr(signal, name):
                    number = getattr(signal, name)
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # A handler that was not set from Python cannot be set again from here.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        is_press = number == signal.SIGINT
        if is_press and self._pressed_at is not None:
            if time.monotonic() - self._pressed_at < _SAME_PRESS_SECONDS:
                return
            raise KeyboardInterrupt
        if is_press:
            self._pressed_at = time.monotonic()
            _print_notice("stopping after this step, and saving; press Ctrl-C again to quit at once")
        elif self.name is None:
            _print_notice(f"{name}: stopping after this step, and saving")
        self.name = self.name or name


def _print_notice(text: str) -> None:
    """Print a line to stderr on rank 0. With os.write, because the signal may have interrupted a print."""
    if os.environ.get("RANK", "0") == "0":
        with suppress(OSError):
            os.write(2, f"\n{text}\n".encode())

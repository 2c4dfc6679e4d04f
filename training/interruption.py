"""Being asked to stop: signals become a wish that the ranks agree on at a step boundary."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import Any

EXIT_RESUMABLE = 75
"""The exit code of a run that was stopped, saved, and can be resumed (EX_TEMPFAIL)."""

_SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2")

_SAME_PRESS_SECONDS = 0.5
"""One press of Ctrl-C may arrive twice: from the terminal, and passed on by a launcher."""


class Interrupted(Exception):  # noqa: N818 - not an error: the run is saved and can be resumed
    """Training stopped at a step boundary because a signal asked for it."""


class StopRequest:
    """Holds the signals that ask a run to stop while it trains.

    The first one is a wish; a second Ctrl-C interrupts at once. Signals are handled only in the main thread of a program:
    elsewhere nothing is ever asked.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        """The signal that asked; none: nothing has."""
        self._asked_at = 0.0
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
            signal.signal(number, handler)
        self._before.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number == signal.SIGINT and self.name == "SIGINT":
            if now - self._asked_at < _SAME_PRESS_SECONDS:
                return
            raise KeyboardInterrupt
        self._asked_at = now
        self.name = signal.Signals(number).name
        if number == signal.SIGINT:
            # With os.write, because the signal may have interrupted a print.
            os.write(2, b"\nstopping after this step, and saving; press Ctrl-C again to quit at once\n")

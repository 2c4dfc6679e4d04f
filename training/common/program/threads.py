"""Helper threads, which a limit of processes or of memory may refuse: what they do is then done without them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

logger = logging.getLogger("slipway")

_told: set[str] = set()


def start_helper(thread: threading.Thread, without: str) -> bool:
    """Start a thread; return whether that went. If not, `without` is said once: what is not done, or done elsewhere."""
    try:
        thread.start()
    except RuntimeError:
        say_without(without)
        return False
    return True


def say_without(without: str) -> None:
    """Say once that a thread could not be started, and what that means."""
    if without not in _told:
        _told.add(without)
        logger.warning("no further thread can be started (a limit of processes or of memory): %s", without)


class HelperThreads(ThreadPoolExecutor):
    """Threads for work that comes out the same whoever does it: where none can be started, the caller does it."""

    _has_none = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return the result of a call as a future; without threads it is done when this returns."""
        if not self._has_none:
            try:
                return super().submit(fn, *args, **kwargs)
            except RuntimeError:
                if self._shutdown:
                    raise
                # From now on, since each call that is handed over stays in a queue that nobody may read.
                self._has_none = True
                say_without("the main thread reads and prepares the data by itself")
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done

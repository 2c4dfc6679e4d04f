"""How long a test waits for what must come: long enough for any machine, so that the limit only ends a hang."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

HANG_SECONDS = 600.0
"""Of one process or condition. Nothing that works takes nearly as long, beside busy programs neither."""

Found = TypeVar("Found")


def wait_until(condition: Callable[[], Found]) -> Found:
    """Return what `condition` returns, as soon as it is true."""
    limit = time.monotonic() + HANG_SECONDS
    while not (found := condition()):
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.02)
    return found

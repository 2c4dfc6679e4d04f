"""What the system tells about the cores: how long threads of this process waited for one, how many others use."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

_LOOKS = 4
"""The system counts in hundredths of a second: others are counted over this many looks."""


def waited_seconds() -> dict[int, float]:
    """Return by thread of this process how long it has waited for a core while it could run; empty if nobody says."""
    found = {}
    with suppress(OSError, ValueError, IndexError):
        for thread in os.listdir("/proc/self/task"):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                text = Path("/proc/self/task", thread, "schedstat").read_text(encoding="ascii")
                found[int(thread)] = int(text.split()[1]) / 1e9
    return found


class OtherPrograms:
    """Counts the cores that other programs use, of those that this process may use; what a hypervisor takes counts too."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, float]] = deque(maxlen=_LOOKS)

    def cores(self) -> float:
        """Return how many they used since some looks ago; 0 where the system does not say, and at first."""
        used = used_core_seconds()
        if used is None:
            return 0.0
        self._looks.append((time.monotonic(), used - time.process_time()))
        (began, first), (ended, last) = self._looks[0], self._looks[-1]
        return max(0.0, last - first) / (ended - began) if ended > began else 0.0


def used_core_seconds() -> float | None:
    """Return for how long the cores that this process may use were not idle, added up; None where the system does not say."""
    with suppress(OSError, ValueError, AttributeError):
        allowed = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        ticks = 0
        for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
            name, *fields = line.split()
            if name in allowed:
                user, nice, system, _, _, *rest = map(int, fields)  # without idle and waiting for a disk
                ticks += user + nice + system + sum(rest[:3])  # guests are counted in user
        return ticks / os.sysconf("SC_CLK_TCK") if ticks else None
    return None

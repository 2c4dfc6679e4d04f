"""What the launchers of several machines share when they meet: how long they wait, how machines are called, the result."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..network import visit
from ..wire import Wire

CONNECT_SECONDS = 5.0
TOLD_SECONDS = 5.0
TOLD_AGAIN_SECONDS = 60.0
ALONE_SECONDS = 20.0
"""For others on this machine, where the address leads to no other one."""
UNREACHED_SECONDS = 20.0
HELLO_SECONDS = 10.0
MOST_SECONDS = 1800.0
"""For a machine that starts later: a person goes from one to the next, a cluster makes them one by one."""
CHECK_SECONDS = 30.0
POLL_SECONDS = 0.1
CLOCK_SECONDS = 60.0
NOBODY = (errno.ECONNREFUSED, errno.ECONNRESET)

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Met:
    """The machines that have met: their names by rank, and the connections: of machine 0 to each other, of these to it."""

    rank: int
    hosts: dict[int, str]
    wires: dict[int, Wire]
    address: str
    """Of this machine, on the way to the others."""


def name_of(rank: int, host: str | None) -> str:
    """Return how a machine is called: `machine 1 (beta)`."""
    return f"machine {rank}{f' ({host})' if host else ''}"


def listing(ranks: list[int]) -> str:
    """Return how machines are called: `machines 1, 2`."""
    numbers = ", ".join(map(str, ranks[:8])) + (", ..." if len(ranks) > 8 else "")
    return f"machine{'s' * (len(ranks) > 1)} {numbers}"


class Reminder:
    """Says after five seconds, and then each minute, what is waited for."""

    def __init__(self) -> None:
        self._next = time.monotonic() + TOLD_SECONDS

    def is_due(self) -> bool:
        """Return whether it is time to say it."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + TOLD_AGAIN_SECONDS
        return True


def kept_out(rank: int, doors: dict[int, tuple[str, int, str]]) -> Iterator[tuple[int, str]]:
    """Yield the machines that this one cannot connect to, and why."""
    others = {to: door for to, door in doors.items() if to != rank}
    for to, why in zip(others, visit(list(others.values())), strict=True):
        if why is not None:
            yield to, why

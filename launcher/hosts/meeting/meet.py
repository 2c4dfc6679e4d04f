"""The launchers of several machines meet: each says what it is about to start.

They begin together, once all are there, are equal where they must be, and each has reached each other; else all of them end
with the same line. What is missing is named while they wait.
"""

from __future__ import annotations

import contextlib

from ..member import Member
from ..network import Door
from .first import FirstMachine
from .met import Met, Tell
from .other import OtherMachine


def meet(member: Member, door: Door, address: str, port: int, tell: Tell) -> Met:
    """Wait for the launchers of all machines at a port of machine 0, and agree with them.

    `tell` gets a line about what is waited for. Raises `UserError` with what is wrong, on all machines that have come.
    """
    door.open(member.ticket)
    with contextlib.closing(door):
        if member.machine_rank == 0:
            return FirstMachine(member, address, port, tell).gather()
        return OtherMachine(member, address, port, tell).join()

"""Machine 0, to which the launchers of the other machines come: it compares them and tells all when to begin."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import threading
import time
from typing import Any

from ....training.common.errors import UserError
from ....training.common.json_records import from_json
from ..member import MEMBER_VERSION, Member, differences
from ..network import is_loopback
from ..wire import Wire, wait_for_any
from . import met
from .met import Met, Reminder, Tell, kept_out, listing, name_of


class FirstMachine:
    """Machine 0, to which the others come."""

    def __init__(self, member: Member, address: str, port: int, tell: Tell) -> None:
        self._member = member
        self._address, self._port = address, port
        self._place = f"{address}:{port}"
        self._tell = tell
        self._count = int(member.agreed["--num-machines"])
        self._strangers: list[Wire] = []
        self._came: dict[int, tuple[Member, Wire]] = {}
        self._own_call: list[str | None] = []  # how the call to this launcher itself ended
        self._began = time.monotonic()

    def gather(self) -> Met:
        """Wait for all. Raises `UserError`."""
        with self._listen() as listener:
            threading.Thread(target=self._call, name="slipway-call", daemon=True).start()
            try:
                self._wait(listener)
                self._check_network()
            except UserError as error:
                self._send_all(refused=str(error))
                raise
            finally:
                for stranger in self._strangers:
                    stranger.close()
        hosts = {0: self._member.host} | {rank: one.host for rank, (one, _) in self._came.items()}
        self._send_all(begin={str(rank): host for rank, host in hosts.items()})
        wires = {rank: wire for rank, (_, wire) in self._came.items()}
        addresses = [wire.own_address for wire in wires.values()]
        return Met(rank=0, hosts=hosts, wires=wires, address=max(addresses, key=addresses.count))

    def _send_all(self, **message: Any) -> None:
        for _, wire in self._came.values():
            wire.send(**message)

    def _listen(self) -> socket.socket:
        try:
            if socket.has_dualstack_ipv6():
                return socket.create_server(("", self._port), family=socket.AF_INET6, dualstack_ipv6=True)
            return socket.create_server(("", self._port))
        except OSError:
            raise UserError(
                f"--main-process-port {self._port}: another process of this machine listens there; give all machines "
                "another one"
            ) from None

    def _call(self) -> None:
        """Call the address that the others are given: who answers there?"""
        while True:
            try:
                problem = self._answered()
                break
            except (OSError, ValueError) as error:
                problem = self._elsewhere((getattr(error, "strerror", None) or str(error) or "no answer").lower())
                # Another machine that was started as machine 0 is told too, once it is there.
                if (
                    getattr(error, "errno", None) not in met.NOBODY
                    or time.monotonic() - self._began > met.ALONE_SECONDS
                ):
                    break
            time.sleep(5 * met.POLL_SECONDS)
        self._own_call.append(problem)

    def _answered(self) -> str | None:
        """Return what is wrong with the answer; None where this launcher answers itself. Raises `OSError`, `ValueError`."""
        with socket.create_connection((self._address, self._port), timeout=met.CONNECT_SECONDS) as connection:
            Wire(connection).send(hello=dataclasses.asdict(self._member))
            connection.settimeout(met.CONNECT_SECONDS)
            answer = json.loads(connection.makefile().readline() or "{}")
        if "refused" in answer:
            return str(answer["refused"])
        return (
            None if answer.get("welcome") == self._member.ticket else self._elsewhere("another program answers there")
        )

    def _elsewhere(self, why: str) -> str:
        return (
            f"--main-process-ip {self._address} does not lead to this machine, {self._member.host}, which is machine 0 "
            f"({why}): give the address of this machine to all, or this one its own --machine-rank (1, 2, ...)"
        )

    def _wait(self, listener: socket.socket) -> None:
        reminder = Reminder()
        while len(self._came) + 1 < self._count or not self._own_call:
            waiting: list[Wire | socket.socket] = [
                listener,
                *self._strangers,
                *(wire for _, wire in self._came.values()),
            ]
            for ready in wait_for_any(waiting, met.POLL_SECONDS):
                if ready is listener:
                    connection, _ = listener.accept()
                    self._strangers.append(Wire(connection))
            for stranger in list(self._strangers):
                self._hear(stranger)
            for rank, (_, wire) in list(self._came.items()):
                with contextlib.suppress(EOFError):
                    wire.receive()
                    continue
                del self._came[rank]  # it has given up; it may come again
                self._send_all(missing=self._missing())
            if self._own_call and self._own_call[0] is not None:
                raise UserError(self._own_call[0])
            missing = self._missing()
            waited = time.monotonic() - self._began
            if missing and is_loopback(self._address) and waited > met.ALONE_SECONDS:
                raise UserError(
                    f"--main-process-ip {self._address} is this machine alone, and no launcher of {listing(missing)} is on "
                    "it: give the address by which the others reach it"
                )
            if missing and waited > met.MOST_SECONDS:
                raise UserError(
                    f"{listing(missing)} of {self._count} did not come to {self._place} in {waited / 60:.0f} min"
                )
            if missing and reminder.is_due():
                self._tell(
                    f"waits for {listing(missing)} of {self._count} to come to {self._place}: start slipway there with "
                    f"--machine-rank {missing[0]}, the same --main-process-ip and --main-process-port"
                )

    def _hear(self, stranger: Wire) -> None:
        """Take in a machine that says who it is."""
        try:
            messages = stranger.receive()
        except EOFError:
            messages = [{}]
        if not messages and time.monotonic() - stranger.began < met.HELLO_SECONDS:
            return
        self._strangers.remove(stranger)
        try:
            text = json.dumps(messages[0]["hello"])
            member = from_json(Member, MEMBER_VERSION, text, "another machine's launcher", "slipway launch")
        except (KeyError, IndexError):  # it is no launcher
            stranger.close()
            return
        except UserError:
            stranger.send(
                refused=f"machine 0 ({self._member.host}) has another version of Slipway: install the same on all"
            )
            raise UserError("a machine has come that has another version of Slipway: install the same on all") from None
        if member.ticket == self._member.ticket:
            stranger.send(welcome=member.ticket)
            return
        self._came_before_check(member, stranger)
        self._came[member.machine_rank] = (member, stranger)
        stranger.send(welcome=self._member.ticket, host=self._member.host)
        self._send_all(missing=self._missing())

    def _missing(self) -> list[int]:
        return [rank for rank in range(1, self._count) if rank not in self._came]

    def _came_before_check(self, member: Member, stranger: Wire) -> None:
        """Raise `UserError`, which the machine gets too, where it cannot take part."""
        try:
            self._check(member)
        except UserError as error:
            stranger.send(refused=str(error))
            raise

    def _check(self, member: Member) -> None:
        rank, name = member.machine_rank, name_of(member.machine_rank, member.host)
        before = self._member if rank == 0 else self._came[rank][0] if rank in self._came else None
        if before is not None and rank < self._count:
            free = self._missing()
            rest = f"; {listing(free)} of {self._count} has not come" if free else ""
            raise UserError(
                f"two machines say --machine-rank {rank}: {before.host} and {member.host}{rest}: give each its own"
            )
        if found := differences(member, self._member):
            first = name_of(0, self._member.host)
            raise UserError(f"{name} differs from {first}: {'; '.join(found)}: start all machines with the same")
        if not 0 < rank < self._count:
            raise UserError(f"{name}: --num-machines {self._count} count from 0 to {self._count - 1}")
        if member.command != self._member.command:
            self._tell(f"{name} runs other arguments: {member.command}")
        late = member.clock - time.time()
        if abs(late) > met.CLOCK_SECONDS:
            self._tell(
                f"warning: the clock of {name} is {abs(late):.0f} s {'ahead of' if late > 0 else 'behind'} that of this "
                "machine: downloads over TLS may fail, and times in logs mislead; set it"
            )

    def _check_network(self) -> None:
        """Have each machine connect to each other, as their processes will. Raises `UserError`."""
        addresses = [wire.own_address for _, wire in self._came.values()]
        own = max(addresses, key=addresses.count)
        doors = {0: (own, self._member.port, self._member.ticket)}
        doors |= {rank: (one.address, one.port, one.ticket) for rank, (one, _) in self._came.items()}
        self._send_all(visit={str(rank): door for rank, door in doors.items()})
        found = {0: dict(kept_out(0, doors))}
        limit = time.monotonic() + met.CHECK_SECONDS
        while len(found) < self._count:
            for rank, (_, wire) in self._came.items():
                try:
                    for message in wire.receive():
                        found[rank] = {int(to): str(why) for to, why in message.get("visited", {}).items()}
                except EOFError:
                    raise UserError(f"{self._name(rank)} has ended before the start") from None
            if time.monotonic() > limit:
                silent = next(rank for rank in range(self._count) if rank not in found)
                raise UserError(f"{self._name(silent)} does not answer any more")
            wait_for_any((wire for _, wire in self._came.values()), met.POLL_SECONDS)
        for rank, problems in sorted(found.items()):
            for to, why in problems.items():
                place = f"{doors[to][0]}, port {doors[to][1]}"
                raise UserError(
                    f"{self._name(rank)} cannot connect to {self._name(to)} at {place} ({why}): the processes of a training "
                    "connect to each other on any port, so a firewall must let all of TCP through between the machines"
                )

    def _name(self, rank: int) -> str:
        return name_of(rank, self._came[rank][0].host if rank else self._member.host)

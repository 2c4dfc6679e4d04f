"""A machine that comes to machine 0, and waits there for the begin."""

from __future__ import annotations

import dataclasses
import socket
import time

from ....training.common.errors import UserError
from ..member import Member
from ..network import interface_of, is_loopback
from ..wire import Wire, wait_for_any
from . import met
from .met import Met, Reminder, Tell, kept_out, listing, name_of


class OtherMachine:
    """A machine that comes to machine 0."""

    def __init__(self, member: Member, address: str, port: int, tell: Tell) -> None:
        self._member = member
        self._address, self._port = address, port
        self._place = f"{address}:{port}"
        self._tell = tell
        self._began = time.monotonic()
        self._reminder = Reminder()

    def join(self) -> Met:
        """Connect, and wait for the begin. Raises `UserError`."""
        while True:
            wire = self._connect()
            member = dataclasses.replace(self._member, address=wire.own_address, clock=time.time())
            wire.send(hello=dataclasses.asdict(member))
            begun = self._listen_to(wire)
            if begun is not None:
                return begun
            wire.close()
            self._began = time.monotonic()
            time.sleep(met.POLL_SECONDS)

    def _connect(self) -> Wire:
        unreached: float | None = None
        while True:
            try:
                return Wire(socket.create_connection((self._address, self._port), timeout=met.CONNECT_SECONDS))
            except (OSError, UnicodeError) as error:
                problem = error
            now = time.monotonic()
            answers = getattr(problem, "errno", None) in met.NOBODY
            why = (getattr(problem, "strerror", None) or str(problem)).lower()
            if answers:
                unreached = None
                self._check_elsewhere()
            else:
                unreached = unreached or now
                if now - min(unreached, now) > met.UNREACHED_SECONDS or now - self._began > met.MOST_SECONDS:
                    raise UserError(
                        f"machine 0 cannot be reached at {self._place} ({why}): it is off, on another network, or a firewall "
                        "keeps this machine out"
                    )
            if now - self._began > met.MOST_SECONDS:
                raise UserError(f"machine 0 did not come to {self._place} in {met.MOST_SECONDS / 60:.0f} min")
            if self._reminder.is_due():
                self._tell(
                    f"waits for machine 0 at {self._place} ({why}): start it there, with the same --main-process-port, "
                    "and no --machine-rank or 0"
                )
            time.sleep(5 * met.POLL_SECONDS)

    def _check_elsewhere(self) -> None:
        """Raise `UserError` where the address is this machine's own and nobody else is on it."""
        own = [is_loopback(one) or interface_of(one) is not None for one in _addresses_of(self._address)]
        if time.monotonic() - self._began > met.ALONE_SECONDS and all(own):
            raise UserError(
                f"--main-process-ip {self._address} is this machine itself, {self._member.host}, and machine 0 is not on it: "
                "give the address by which this machine reaches machine 0"
            )

    def _listen_to(self, wire: Wire) -> Met | None:
        """Follow machine 0 to the begin; return None where it has ended before. Raises `UserError`."""
        host: str | None = None
        asked = time.monotonic()
        missing: list[int] = []
        while True:
            wait_for_any([wire], met.POLL_SECONDS)
            try:
                messages = wire.receive()
            except EOFError:
                if host is not None:
                    self._tell(f"{name_of(0, host)} has ended before all had come: waiting for it again")
                    return None
                raise self._no_launcher() from None
            for number, message in enumerate(messages, 1):
                if "refused" in message:
                    raise UserError(str(message["refused"]))
                if "welcome" in message:
                    host = str(message.get("host"))
                if "missing" in message:
                    missing = list(message["missing"])
                if "visit" in message:
                    doors = {int(rank): tuple(door) for rank, door in message["visit"].items()}
                    wire.send(visited={str(to): why for to, why in kept_out(self._member.machine_rank, doors)})
                if "begin" in message:
                    wire.put_back(messages[number:])
                    hosts = {int(rank): str(name) for rank, name in message["begin"].items()}
                    return Met(rank=self._member.machine_rank, hosts=hosts, wires={0: wire}, address=wire.own_address)
            if missing and self._reminder.is_due():
                self._tell(f"waits with {name_of(0, host)} for {listing(missing)}")
            if host is None and time.monotonic() - asked > met.HELLO_SECONDS:
                raise self._no_launcher()

    def _no_launcher(self) -> UserError:
        return UserError(
            f"what listens at {self._place} is no launcher that waits for this machine: a training runs there already, or "
            "another program; give all machines another --main-process-port"
        )


def _addresses_of(name: str) -> list[str]:
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return [""]

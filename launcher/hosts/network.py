"""The addresses of this machine, the interface behind one, and whether other machines can be reached."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psutil

from .wire import plain_address

_CONNECT_SECONDS = 6.0
_MOST_AT_ONCE = 64
_BACKLOG = 1024


def interface_of(address: str) -> str | None:
    """Return the name of the interface of this machine with an address; None where it has none."""
    for name, entries in psutil.net_if_addrs().items():
        if any(plain_address(entry.address) == address for entry in entries):
            return name
    return None


def is_loopback(address: str) -> bool:
    """Return whether an address, no name, leads back to the machine itself."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(plain_address(address)).is_loopback
    return False


class Door:
    """A listener on any free port that shows its ticket to whoever connects, so that others see that they can."""

    def __init__(self) -> None:
        self._ticket = b""
        if socket.has_dualstack_ipv6():
            self._listener = socket.create_server(
                ("", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG
            )
        else:
            self._listener = socket.create_server(("", 0), backlog=_BACKLOG)
        self.port = int(self._listener.getsockname()[1])

    def open(self, ticket: str) -> None:
        """Show the ticket from now on."""
        self._ticket = ticket.encode()
        threading.Thread(target=self._serve, name="slipway-door", daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                visitor, _ = self._listener.accept()
                with visitor, contextlib.suppress(OSError):
                    visitor.settimeout(_CONNECT_SECONDS)
                    visitor.sendall(self._ticket)

    def close(self) -> None:
        """Let nobody in any more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def visit(doors: Sequence[tuple[str, int, str]]) -> list[str | None]:
    """Connect to each door, given by address, port and ticket; return in words what keeps this machine out, or None."""
    if not doors:
        return []
    with ThreadPoolExecutor(min(len(doors), _MOST_AT_ONCE)) as pool:
        return list(pool.map(_visit, doors))


def _visit(door: tuple[str, int, str]) -> str | None:
    address, port, ticket = door
    try:
        with socket.create_connection((address, port), timeout=_CONNECT_SECONDS) as connection:
            shown = b""
            while data := connection.recv(64):
                shown += data
    except OSError as error:
        return (error.strerror or str(error) or "timed out").lower()
    return None if shown == ticket.encode() else "another machine answers there"

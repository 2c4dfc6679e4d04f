"""A connection between two launchers that carries JSON, a line a message; the kernel tells when the other machine is gone."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
from collections.abc import Iterable, Sequence
from typing import Any

_MOST_BYTES = 1 << 22
_SEND_SECONDS = 10.0
_SILENT_SECONDS = 20
"""After which a machine that does not answer the kernel of this one any more counts as gone."""
_ASK_SECONDS = 5


class Wire:
    """One end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""
        self._closed_by_other = False
        self._put_back: list[dict[str, Any]] = []
        self.began = time.monotonic()
        connection.settimeout(_SEND_SECONDS)
        for option, value in _KEEP_ALIVE.items():
            with contextlib.suppress(OSError):
                connection.setsockopt(*option, value)

    def fileno(self) -> int:
        """Return the number that `select` waits for."""
        return self._connection.fileno()

    @property
    def own_address(self) -> str:
        """Return the address of this machine on this connection."""
        return plain_address(self._connection.getsockname()[0])

    def send(self, **message: Any) -> None:
        """Send a message; the other end may be gone, which `receive` tells."""
        with contextlib.suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[dict[str, Any]]:
        """Return what has arrived. Raises `EOFError` once the other end is gone, after its last messages were returned."""
        if self._put_back:
            found, self._put_back = self._put_back, []
            return found
        if self._closed_by_other:
            raise EOFError
        while select.select([self._connection], [], [], 0)[0]:
            data = b""
            with contextlib.suppress(OSError):
                data = self._connection.recv(1 << 16)
            self._buffer += data
            if not data or len(self._buffer) > _MOST_BYTES:
                self._closed_by_other = True
                break
        *lines, self._buffer = self._buffer.split(b"\n")
        messages = list(map(_parsed, lines))
        if None in messages:  # it is no launcher
            self._closed_by_other = True
        found = [message for message in messages if message is not None]
        if self._closed_by_other and not found:
            raise EOFError
        return found

    def put_back(self, messages: list[dict[str, Any]]) -> None:
        """Have the next `receive` return these."""
        self._put_back = messages

    def close(self) -> None:
        """Close this end."""
        with contextlib.suppress(OSError):
            self._connection.close()


def wait_for_any(wires: Iterable[Wire | socket.socket], seconds: float) -> Sequence[Wire | socket.socket]:
    """Return the connections and listeners that have something, or nothing after the time."""
    waited = list(wires)
    if not waited:
        time.sleep(seconds)
        return []
    return select.select(waited, [], [], seconds)[0]


def plain_address(address: str) -> str:
    """Return an address as its own family writes it: `::ffff:10.0.0.1` gives `10.0.0.1`."""
    return address.removeprefix("::ffff:").partition("%")[0]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def _keep_alive() -> dict[tuple[int, int], int]:
    options = {(socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1}
    for name, value in (
        ("TCP_KEEPIDLE", _ASK_SECONDS),
        ("TCP_KEEPALIVE", _ASK_SECONDS),  # macOS
        ("TCP_KEEPINTVL", _ASK_SECONDS),
        ("TCP_KEEPCNT", _SILENT_SECONDS // _ASK_SECONDS - 1),
        ("TCP_USER_TIMEOUT", 1000 * _SILENT_SECONDS),
    ):
        if hasattr(socket, name):
            options[socket.IPPROTO_TCP, getattr(socket, name)] = value
    return options


_KEEP_ALIVE = _keep_alive()

"""Waiting for what may take long: it is said what is waited for, and an end that can be known is not waited for."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import UserError
from .streams import end_starting

SAID_AFTER_SECONDS = 5.0
_NAME_SECONDS = 20.0
"""How long the name of a host, or the way to it, may be missing: where containers start together it comes later."""
_POD_SECONDS = 900.0
"""The same in a job of Kubernetes, whose pods have names once they are placed, and their images are there."""
_POD = "JOB_COMPLETION_INDEX"
_POLL_SECONDS = 1.0
_ANY_PORT = 29500

_LOOPBACK = (
    "this machine cannot reach itself at {address}: its loopback device is down; start it with `ip link set lo up`, or train "
    "in one process"
)


@contextmanager
def said_if_long(what: str) -> Iterator[None]:
    """Print `what` to stderr, once for each host, if the block takes longer than five seconds."""
    # With os.write: the main thread may hold the lock of a stream.
    timer = threading.Timer(SAID_AFTER_SECONDS, lambda: _say(what))
    timer.name, timer.daemon = "waiting", True
    if os.environ.get("LOCAL_RANK", "0") == "0":
        with suppress(RuntimeError):  # no thread to be had
            timer.start()
    try:
        yield
    finally:
        timer.cancel()


def end_within(seconds: float, code: int) -> None:
    """End this program in `seconds` at the latest: what its threads still do, such as reading a file, is of no use."""

    def end() -> None:
        time.sleep(seconds)
        os._exit(code)

    with suppress(RuntimeError):  # no thread to be had
        threading.Thread(target=end, name="end", daemon=True).start()


def _say(text: str) -> None:
    end_starting()
    with suppress(OSError):
        os.write(2, f"{text}\n".encode())


def check_meeting_place(address: str, option: str) -> None:
    """Raise `UserError` if this machine does not know the host where the processes of a launch meet, or no way to it.

    Another machine may start later, so its name is looked up for 20 s, in a pod for 15 min; whether it answers is not
    asked. `option` is what named the address.
    """
    seconds = _POD_SECONDS if _POD in os.environ else _NAME_SECONDS
    with said_if_long(f"waits for the name {address}, or for a way there"):
        _wait_for_way(address, option, seconds)


def _wait_for_way(address: str, option: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (problem := _problem_with(address)) is not None:
        if _is_loopback(address):
            raise UserError(_LOOPBACK.format(address=address))
        if time.monotonic() >= deadline:
            raise UserError(
                f"{option}={address}: {problem}, after {seconds:.0f} s; give the name or the address of the machine "
                "of rank 0, as this one reaches it"
            )
        time.sleep(_POLL_SECONDS)


def _problem_with(address: str) -> str | None:
    try:
        found = socket.getaddrinfo(address, _ANY_PORT, type=socket.SOCK_DGRAM)
    except (socket.gaierror, UnicodeError) as error:
        return f"no host of this name ({getattr(error, 'strerror', None) or error})"
    problem = None
    for family, kind, protocol, _, place in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(place)  # asks for a way there; of this kind nothing is sent
                return None
        except OSError as error:
            if error.errno not in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN):
                return None
            problem = (error.strerror or str(error)).lower()
    return problem


def _is_loopback(address: str) -> bool:
    return address in ("localhost", "::1") or address.startswith("127.")

"""The address where machines meet: whether it resolves from here, whether something answers."""

from __future__ import annotations

import ipaddress
import socket
import threading

from ...training.common.errors import UserError, nearest
from ..common.addresses import Address, parse_address
from ..hardware.record import Hardware

RESOLVE_SECONDS, CONNECT_SECONDS = 3.0, 2.0


def check_address(text: str, hardware: Hardware, port: int, is_other_machine: bool) -> Address:
    """Return an address with what was seen of it from here, within seconds.

    A `!` at its end takes it as it is. Raises `UserError` for one of a wrong form, one that does not resolve here, and one
    that each machine has for itself.
    """
    is_forced = text.rstrip().endswith("!")
    address = parse_address(text.rstrip().removesuffix("!"))
    if is_forced or is_other_machine:
        return address
    found = _resolved(address.host)
    if not found:
        hint = nearest(address.host, _known_hosts())
        raise UserError(f"{address.host!r} does not resolve here{hint}; {address.host}! takes it all the same")
    if any(ipaddress.ip_address(one.partition("%")[0]).is_loopback for one in found):
        ours = next((one for one in _own(hardware) if ":" not in one), "")
        instead = f", such as {ours}" if ours else ""
        raise UserError(
            f"{address.host!r} is each machine's own loopback: give an address that all of them reach{instead}; "
            f"{address.host}! takes it all the same"
        )
    if set(found) & set(_own(hardware)):
        return Address(host=address.host, port=address.port, is_here=True, note="it is this machine")
    return Address(host=address.host, port=address.port, note=_answer(found[0], address.port or port))


def _own(hardware: Hardware) -> list[str]:
    return [address for one in hardware.network if not one.loopback for address in one.addresses]


def _resolved(host: str) -> list[str]:
    """Return the addresses of a name, none where it has none or the name server takes too long."""
    found: list[str] = []

    def resolve() -> None:
        try:
            found.extend(str(one[4][0]) for one in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):
            return

    thread = threading.Thread(target=resolve, name="resolve", daemon=True)
    thread.start()
    thread.join(RESOLVE_SECONDS)
    return list(dict.fromkeys(found))


def _known_hosts() -> list[str]:
    """Return the names of /etc/hosts, for whoever mistyped one."""
    try:
        with open("/etc/hosts", encoding="utf-8", errors="replace") as file:
            return [name for line in file.read(1 << 16).splitlines() for name in line.partition("#")[0].split()[1:]]
    except OSError:
        return []


def _answer(address: str, port: int) -> str:
    """Return what came of a connection: machine 0 listens only once it is started."""
    try:
        with socket.create_connection((address, port), timeout=CONNECT_SECONDS):
            return f"something listens at port {port} already: another launch, unless machine 0 waits for this one"
    except ConnectionRefusedError:
        return f"it answers; nothing listens at port {port} yet, as it should be before the start"
    except TimeoutError:
        return f"no answer at port {port} within {CONNECT_SECONDS:g} s: it may be down, or a firewall is between"
    except OSError as error:
        return f"not reached from here: {(error.strerror or str(error)).lower()}"

"""The address where machines meet: its form, whether it resolves from here, whether something answers."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from dataclasses import dataclass

from ...training.common.errors import UserError, nearest
from ..hardware.record import Hardware

RESOLVE_SECONDS, CONNECT_SECONDS = 3.0, 2.0
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.IGNORECASE)
_SIZE = re.compile(r"[0-9][0-9.,_]*(?:e[0-9]+)?\s*[kmbgt]?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where machine 0 is reached, and what was seen of it."""

    host: str
    port: int | None = None
    is_here: bool = False
    note: str = ""


def parse_address(text: str) -> Address:
    """Return the host and the port of text such as `node01`, `10.0.0.5:29500` or `[fd00::5]:29500`. Raises `UserError`."""
    text = text.strip()
    scheme, is_url, rest = text.partition("://")
    if is_url:
        raise UserError(f"{text!r}: leave out {scheme}://, as in {rest.split('/')[0] or 'node01'}")
    host, port = text, None
    if found := re.fullmatch(r"\[([^\]]*)\](?::(.*))?", text):
        host, port = found[1], found[2]
        _check_ip(host, text)
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if port is not None and not (re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) and 0 < int(port) < 1 << 16):
        raise UserError(f"{text!r}: {port!r} is no port, 1 to 65535")
    _check_host(host, text)
    return Address(host=host, port=None if port is None else int(port))


def _check_host(host: str, text: str) -> None:
    if ":" in host or re.fullmatch(r"[0-9.]+", host, re.ASCII):
        _check_ip(host, text)
    elif _SIZE.fullmatch(host):
        raise UserError(f"{text!r} is a number, not a host; give a name or an address, such as node01 or 10.0.0.5")
    elif len(host) > 253 or not all(_LABEL.fullmatch(one) for one in host.removesuffix(".").split(".")):
        raise UserError(f"{text!r} is no name of a host; give one such as node01 or 10.0.0.5")


def _check_ip(host: str, text: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise UserError(f"{text!r} is no IP address; give one such as 10.0.0.5, or a name such as node01") from None


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

"""The address of a machine: its form."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from ...training.common.errors import UserError

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

"""Probe the network interfaces: names, addresses, state, speed."""

from __future__ import annotations

import socket

from ..record import NetworkInterface
from .sources import Sources

_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def detect(sources: Sources) -> tuple[NetworkInterface, ...]:
    """Return the interfaces by name."""
    entries = sources.psutil.net_if_addrs()
    found = []
    for name, status in sorted(sources.psutil.net_if_stats().items()):
        addresses = tuple(entry.address for entry in entries.get(name, ()) if entry.family in _FAMILIES)
        found.append(
            NetworkInterface(
                name=name,
                addresses=addresses,
                up=status.isup,
                loopback="127.0.0.1" in addresses,
                speed_megabits_per_second=status.speed or None,
            )
        )
    return tuple(found)

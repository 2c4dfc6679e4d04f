"""Network interfaces: names, addresses, whether they are up."""

from __future__ import annotations

import socket
from typing import Any

from ..record import NetworkInterface
from .sources import Sources, read_text, whole

# Bits of /sys/class/net/*/flags, from linux/if.h.
_IFF_UP = 0x1
_IFF_LOOPBACK = 0x8


def detect(sources: Sources) -> tuple[NetworkInterface, ...]:
    """Return the interfaces by name. Without psutil there are no addresses, and off Linux no interfaces."""
    psutil = sources.psutil()
    addresses = _addresses(psutil) if psutil else {}
    folders = [folder for folder in sources.folder("/sys/class/net") if (folder / "flags").exists()]
    if folders:
        found = []
        for folder in folders:
            flags = whole(read_text(folder / "flags"), base=16) or 0
            speed = whole(read_text(folder / "speed"))
            found.append(
                NetworkInterface(
                    name=folder.name,
                    addresses=addresses.get(folder.name, ()),
                    up=bool(flags & _IFF_UP),
                    loopback=bool(flags & _IFF_LOOPBACK),
                    speed_megabits_per_second=speed if speed and speed > 0 else None,
                )
            )
        return tuple(sorted(found, key=lambda interface: interface.name))
    status = psutil.net_if_stats() if psutil else {}
    return tuple(
        NetworkInterface(
            name=name,
            addresses=addresses.get(name, ()),
            up=state.isup,
            loopback="127.0.0.1" in addresses.get(name, ()),
            speed_megabits_per_second=state.speed or None,
        )
        for name, state in sorted(status.items())
    )


def _addresses(psutil: Any) -> dict[str, tuple[str, ...]]:
    families = (socket.AF_INET, socket.AF_INET6)
    return {
        name: tuple(entry.address for entry in entries if entry.family in families)
        for name, entries in psutil.net_if_addrs().items()
    }

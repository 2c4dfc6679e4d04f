"""Probe Intel GPUs in sysfs: discrete cards only, since integrated graphics do not speed up a training."""

from __future__ import annotations

from pathlib import Path

from ...record import Accelerator, Driver
from ..sources import Sources, list_folder, numa_node, read_text, to_integer

_VENDOR = "0x8086"
_GIB = 1 << 30
# PCI device id -> (name, memory, tiles). The mainline kernel gives neither name nor memory.
_CARDS = {
    "0x0bd5": ("Intel Data Center GPU Max 1550", 128 * _GIB, 2),
    "0x0bd6": ("Intel Data Center GPU Max 1550", 128 * _GIB, 2),
    "0x0bd9": ("Intel Data Center GPU Max 1100", 48 * _GIB, 1),
    "0x0bda": ("Intel Data Center GPU Max 1100", 48 * _GIB, 1),
    "0x0bdb": ("Intel Data Center GPU Max 1100", 48 * _GIB, 1),
    "0x56a0": ("Intel Arc A770 Graphics", None, 1),  # 8 or 16 GB
    "0x56a1": ("Intel Arc A750 Graphics", 8 * _GIB, 1),
    "0x56a5": ("Intel Arc A380 Graphics", 6 * _GIB, 1),
    "0x56c0": ("Intel Data Center GPU Flex 170", 16 * _GIB, 1),
    "0x56c1": ("Intel Data Center GPU Flex 140", 6 * _GIB, 1),
    "0xe20b": ("Intel Arc B580 Graphics", 12 * _GIB, 1),
    "0xe20c": ("Intel Arc B570 Graphics", 10 * _GIB, 1),
}


def detect(sources: Sources) -> tuple[tuple[Accelerator, ...], Driver | None]:
    """Return the cards by PCI address, and the kernel driver (its version is the kernel's)."""
    cards: dict[str, Path] = {}
    for folder in sources.folder("/sys/class/drm"):
        device = folder / "device"
        if folder.name.startswith("renderD") and read_text(device / "vendor") == _VENDOR:
            entries = dict(
                line.split("=", 1) for line in (read_text(device / "uevent") or "").splitlines() if "=" in line
            )
            address = entries.get("PCI_SLOT_NAME", "")
            # Bus 0 is the processor's own graphics.
            if address.split(":")[1:2] not in ([], ["00"]):
                cards[address] = device
    accelerators = tuple(_accelerator(i, address, cards[address]) for i, address in enumerate(sorted(cards)))
    version = sources.text("/proc/sys/kernel/osrelease")
    return accelerators, Driver(kind="xpu", version=version, cuda_version=None) if accelerators and version else None


def _accelerator(index: int, address: str, device: Path) -> Accelerator:
    device_id = read_text(device / "device") or ""
    name, memory_total_bytes, tiles = _CARDS.get(device_id, (f"Intel GPU {device_id}", None, 1))
    return Accelerator(
        kind="xpu",
        index=index,
        name=name,
        uuid=None,
        pci_address=address,
        memory_total_bytes=_local_memory(device) or memory_total_bytes,
        memory_free_bytes=None,
        unified_memory=False,
        compute_capability=None,
        architecture=None,
        bf16=True,  # every discrete card since Arc A has XMX or vector units with bf16
        fp16=True,
        fp8=False,
        tiles=tiles,
        mig_slices=(),
        processes=(),
        numa_node=numa_node(device),
    )


def _local_memory(device: Path) -> int | None:
    """Return the memory of a card in bytes, from the driver, else from its memory window if that has 4 GiB or more."""
    for card in list_folder(device / "drm"):
        total = to_integer(read_text(card / "lmem_total_bytes"))
        if total:
            return total
    rows = (read_text(device / "resource") or "").splitlines()
    if len(rows) > 2:
        first, last = (int(value, 16) for value in rows[2].split()[:2])
        # Without resizable BAR the window shows 256 MiB of any card.
        return last - first + 1 if last - first >= 4 * _GIB - 1 else None
    return None

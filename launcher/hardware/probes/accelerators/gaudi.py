"""Intel Gaudi accelerators from the habanalabs driver's sysfs folders."""

from __future__ import annotations

from pathlib import Path

from ...record import Accelerator
from ..sources import Sources, numa_node, read_text, to_integer

_GIB = 1 << 30
# The driver's device_type -> (name, memory). The first Gaudi has no fp16 and no fp8.
_TYPES = {
    "GAUDI": ("Intel Gaudi", 32 * _GIB),
    "GAUDI2": ("Intel Gaudi 2", 96 * _GIB),
    "GAUDI3": ("Intel Gaudi 3", 128 * _GIB),
}


def detect(sources: Sources) -> tuple[Accelerator, ...]:
    """Return the accelerators by the driver's number. Older drivers use `habanalabs`, newer ones `accel`."""
    return tuple(_accelerator(index, folder, kind) for index, (folder, kind) in enumerate(_found(sources)))


def module_ids(sources: Sources) -> tuple[int | None, ...]:
    """Return the place of each accelerator on its board, by which processes name it; None where the driver does not tell."""
    return tuple(to_integer(read_text(folder / "device" / "module_id")) for folder, _ in _found(sources))


def _found(sources: Sources) -> list[tuple[Path, str]]:
    return [
        (folder, device_type)
        for parent in ("/sys/class/habanalabs", "/sys/class/accel")
        for folder in sources.folder(parent)
        for device_type in [_device_type(folder)]
        if device_type and "control" not in folder.name
    ]


def _device_type(folder: Path) -> str | None:
    text = read_text(folder / "device_type") or read_text(folder / "device" / "device_type")
    return text.upper().split()[0] if text and "GAUDI" in text.upper() else None


def _accelerator(index: int, folder: Path, device_type: str) -> Accelerator:
    name, memory_total_bytes = _TYPES.get(device_type, (f"Intel {device_type.title()}", None))
    return Accelerator(
        kind="hpu",
        index=index,
        name=name,
        uuid=None,
        pci_address=read_text(folder / "pci_addr") or read_text(folder / "device" / "pci_addr"),
        memory_total_bytes=memory_total_bytes,
        memory_free_bytes=None,
        unified_memory=False,
        compute_capability=None,
        architecture=None,
        bf16=True,
        fp16=device_type != "GAUDI",
        fp8=device_type != "GAUDI",
        tiles=1,
        mig_slices=(),
        processes=(),
        numa_node=numa_node(folder / "device"),
    )

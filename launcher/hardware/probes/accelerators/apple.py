"""Probe the GPU of an Apple chip, whose abilities follow from the name of the chip."""

from __future__ import annotations

from ...precisions import native_precisions
from ...record import Accelerator
from ..sources import Sources


def detect(sources: Sources) -> tuple[Accelerator, ...]:
    """Return the one GPU of an Apple chip, whose memory is the host's; nothing on Intel Macs."""
    if sources.platform != "darwin" or sources.architecture != "arm64":
        return ()
    name = sources.sysctl("machdep.cpu.brand_string") or "Apple silicon"
    return (
        Accelerator(
            kind="mps",
            index=0,
            name=name,
            uuid=None,
            pci_address=None,
            memory_total_bytes=None,
            memory_free_bytes=None,
            unified_memory=True,
            compute_capability=None,
            architecture=None,
            **native_precisions("mps", name, None, None)._asdict(),
            tiles=1,
            mig_slices=(),
            processes=(),
            numa_node=None,
        ),
    )

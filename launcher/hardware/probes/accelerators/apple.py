"""Probe the GPU of an Apple chip, whose abilities follow from the name of the chip."""

from __future__ import annotations

import re

from ...record import Accelerator
from ..sources import Sources

_FIRST_WITH_BF16 = 3  # M1 and M2 GPUs emulate bfloat16


def detect(sources: Sources) -> tuple[Accelerator, ...]:
    """Return the one GPU of an Apple chip, whose memory is the host's; nothing on Intel Macs."""
    if sources.platform != "darwin" or sources.architecture != "arm64":
        return ()
    name = sources.sysctl("machdep.cpu.brand_string") or "Apple silicon"
    generation = re.search(r"\bM(\d+)\b", name)
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
            bf16=generation is not None and int(generation[1]) >= _FIRST_WITH_BF16,
            fp16=True,
            fp8=False,
            tiles=1,
            mig_slices=(),
            processes=(),
            numa_node=None,
        ),
    )

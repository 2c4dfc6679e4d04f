"""The precisions that a device computes itself, without emulation, by its generation. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from .record import Kind

_FIRST_APPLE_WITH_BF16 = 3  # GPUs of M1 and M2 emulate it


class Precisions(NamedTuple):
    """Whether a device has each of them natively."""

    bf16: bool
    fp16: bool
    fp8: bool


def native_precisions(
    kind: Kind, name: str, capability: tuple[int, int] | None, architecture: str | None
) -> Precisions:
    """Return them by NVIDIA's compute capability, AMD's architecture, or the chip's name; what is not known is false."""
    if kind == "cuda":
        known = capability or (0, 0)
        return Precisions(bf16=known >= (8, 0), fp16=known >= (5, 3), fp8=known >= (8, 9))
    if kind == "rocm":
        gfx = architecture or ""
        has_bf16 = gfx in ("gfx908", "gfx90a") or gfx.startswith(("gfx94", "gfx95", "gfx11", "gfx12"))
        return Precisions(bf16=has_bf16, fp16=True, fp8=gfx.startswith(("gfx94", "gfx95", "gfx12")))
    if kind == "mps":
        generation = re.search(r"\bM(\d+)\b", name)
        has_bf16 = generation is not None and int(generation[1]) >= _FIRST_APPLE_WITH_BF16
        return Precisions(bf16=has_bf16, fp16=True, fp8=False)
    return Precisions(bf16=True, fp16=True, fp8=kind == "hpu")

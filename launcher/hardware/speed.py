"""How fast accelerators train beside each other, by an estimate from their compute and memory bandwidth. Pure.

Half of the time of the fastest one is taken to go into arithmetic and half into reading and writing its memory, as of a model
with both matrix products and operations on single elements; a measured speed is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...training.common.known_devices import known_device
from ...training.common.plan_file import Precision
from .record import Accelerator

# Matrix units that sum in float32 over plain cores, where only the cores are known (NVIDIA's architecture papers).
_HALF_OVER_FULL = {(7, 0): 8, (7, 5): 4, (8, 0): 16, (8, 6): 2, (8, 9): 2, (9, 0): 14, (10, 0): 28, (12, 0): 2}


class _Peaks(NamedTuple):
    """TFLOP/s in float32 and in 16 bits, GB/s; None: not known."""

    full: float | None
    half: float | None
    bandwidth: float | None


def _peaks(one: Accelerator) -> _Peaks:
    known = known_device(one.name)
    if known is not None:
        return _Peaks(known.full, known.half or known.full, known.bandwidth)
    full = 2e-6 * one.cores * one.clock_megahertz if one.cores and one.clock_megahertz else None
    ratio = 1 if "GTX 16" in one.name else _HALF_OVER_FULL.get(one.compute_capability or (0, 0), 1)
    return _Peaks(full, None if full is None else full * ratio, one.memory_gigabytes_per_second)


def relative_times(devices: Sequence[Accelerator], precisions: Sequence[Precision]) -> tuple[float, ...] | None:
    """Return what each device takes for a sample, in a unit of their own; None where nothing says so for one of them.

    `precisions` has one for each device. An RTX 3090 in bf16 beside an RTX 2080 Ti in fp16 gives (1.0, 1.42).
    """
    peaks = [_peaks(one) for one in devices]
    compute = [one.full if precision == "no" else one.half for one, precision in zip(peaks, precisions, strict=True)]
    bandwidth = [
        None if one.bandwidth is None else one.bandwidth / (2 if precision == "no" else 1)
        for one, precision in zip(peaks, precisions, strict=True)
    ]
    parts = [slowdowns for slowdowns in (_slowdowns(compute), _slowdowns(bandwidth)) if slowdowns]
    return tuple(sum(times) / len(parts) for times in zip(*parts, strict=True)) if parts else None


def _slowdowns(rates: Sequence[float | None]) -> list[float]:
    """Return how many times as long as the fastest each takes; nothing where a rate is not known."""
    known = [rate for rate in rates if rate]
    return [max(known) / rate for rate in known] if known and len(known) == len(rates) else []

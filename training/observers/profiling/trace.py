"""Reads from a trace of torch.profiler how long the host and the device were busy with each section.

The format is Chrome's (docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU): events with `cat`, `name`,
`ts` and `dur` in microseconds; an event of the device names in `correlation` the call of the host that queued it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..events import SectionTime
from .sections import SECTION_NAMES

_OTHER = "other"

_DEVICE_CATEGORIES = ("kernel", "gpu_memcpy", "gpu_memset")
_QUEUING_CATEGORIES = ("cuda_runtime", "cuda_driver", "xpu_runtime", "xpu_driver")
_COMMUNICATION = ("nccl", "rccl", "onecclkernel", "ccl_")
"""Prefixes of the kernels that sum gradients, whichever section queued them."""


def section_times(events: Iterable[Mapping[str, Any]], seconds: float, *, has_device: bool) -> list[SectionTime]:
    """Return the time of each section, in the order of `Sections`, and of the rest of `seconds` as `other`.

    A device's work belongs to the section that queued it, from any thread: autograd queues the backward pass from its own.
    Communication is `reduce`, also while the backward pass goes on.
    """
    spans: list[tuple[float, float, str]] = []
    queued_at: dict[int, float] = {}
    work: list[tuple[int, str, float]] = []
    for event in events:
        category = event.get("cat")
        if category == "user_annotation" and event["name"] in SECTION_NAMES:
            spans.append((event["ts"], event["ts"] + event["dur"], event["name"]))
        elif category in _QUEUING_CATEGORIES:
            queued_at[event["args"].get("correlation", 0)] = event["ts"]
        elif category in _DEVICE_CATEGORIES:
            work.append((event["args"].get("correlation", 0), event["name"], event["dur"]))
    spans.sort()
    times = Counter(name for _, _, name in spans)
    host: defaultdict[str, float] = defaultdict(float)
    device: defaultdict[str, float] = defaultdict(float)
    for start, stop, name in spans:
        host[name] += (stop - start) / 1e6
    starts = [span[0] for span in spans]
    for correlation, name, duration in work:
        if name.lower().startswith(_COMMUNICATION):
            section = "reduce"
        else:
            section = _section_at(queued_at.get(correlation), spans, starts)
        device[section] += duration / 1e6
    found = [
        SectionTime(
            name=name,
            times=times[name],
            seconds=host[name],
            device_seconds=device[name] if has_device else None,
        )
        for name in SECTION_NAMES
        if has_device or name != "device_wait"
    ]
    rest = max(0.0, seconds - sum(section.seconds for section in found))
    left = SectionTime(name=_OTHER, times=None, seconds=rest, device_seconds=device[_OTHER] if has_device else None)
    return [*found, left]


def _section_at(moment: float | None, spans: Sequence[tuple[float, float, str]], starts: Sequence[float]) -> str:
    if moment is None:
        return _OTHER
    number = bisect_right(starts, moment) - 1
    return spans[number][2] if number >= 0 and moment <= spans[number][1] else _OTHER

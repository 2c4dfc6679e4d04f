"""Where the host waits for the GPU: inside the issuing of a step it must not, and its one wait must not drain the queue.

Two witnesses. torch's own check makes every call that waits raise while a step is issued. The profiler's trace names the
calls of the CUDA runtime, the work of the device, and what was queued when the loop had its outcome.
"""

from __future__ import annotations

import json
import re
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.gpu_sides import Case, Slipway, make_task
from benchmarks.measure import Ratio
from slipway.training.observers.profiling.sections import Sections

ISSUE = "benchmark_issue"
"""How the trace calls the issuing of a step."""

READ = "device_wait"
"""And the loop's wait for the outcome of the step before; see `Sections`."""

_WAITING_CALL = re.compile(r"Synchronize|^(cuda|hip|cu)Memcpy(?!.*Async)")
_RUNTIME = ("cuda_runtime", "cuda_driver")
_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")


@dataclass(frozen=True, kw_only=True)
class Waits:
    """What a trace says of a round of steps."""

    issued: int
    """Steps."""
    calls: int
    """Of the CUDA runtime while a step was issued, on any thread: the backward pass is queued by autograd's own."""
    waiting_calls: dict[str, int]
    """Those that wait for the device, and copies from or to memory that is not pinned."""
    reads: int
    """Waits of the loop for an outcome, but for the last: nothing is queued behind that."""
    reads_with_next_queued: int
    """Of them those before which the next step was issued."""
    reads_that_left_work: int
    """Of them those at whose end the device had not yet done what was queued for the next step."""
    idle_share: float | None
    """The share of the time from the first to the last work of the device in which it did nothing; none: no work."""


def find_waits(events: Iterable[Mapping[str, Any]]) -> Waits:
    """Return what the events of a Chrome trace say of the steps in it; times are microseconds."""
    issues: list[tuple[float, float]] = []
    reads: list[tuple[float, float]] = []
    calls: list[tuple[float, str, int]] = []
    work: list[tuple[float, float, str, int]] = []
    for event in events:
        category, name = event.get("cat"), event.get("name", "")
        correlation = event.get("args", {}).get("correlation", 0)
        if category == "user_annotation" and name in (ISSUE, READ):
            (issues if name == ISSUE else reads).append((event["ts"], event["ts"] + event["dur"]))
        elif category in _RUNTIME:
            calls.append((event["ts"], name, correlation))
        elif category in _DEVICE:
            work.append((event["ts"], event["ts"] + event["dur"], name, correlation))
    issues.sort()
    reads.sort()
    step_of = {correlation: _span_at(issues, moment) for moment, _, correlation in calls}
    waiting = Counter(
        name for moment, name, _ in calls if _WAITING_CALL.search(name) and _span_at(issues, moment) is not None
    )
    waiting.update(name for _, _, name, call in work if "Pageable" in name and step_of.get(call) is not None)
    last_work: dict[int, float] = {}
    for _, stop, _, call in work:
        if (step := step_of.get(call)) is not None:
            last_work[step] = max(stop, last_work.get(step, stop))
    judged = reads[:-1]
    # Outcomes are read in the order of the steps: the one after the read step must have been issued before.
    queued = [number + 1 < len(issues) and issues[number + 1][1] <= start for number, (start, _) in enumerate(judged)]
    return Waits(
        issued=len(issues),
        calls=sum(_span_at(issues, moment) is not None for moment, _, _ in calls),
        waiting_calls=dict(waiting),
        reads=len(judged),
        reads_with_next_queued=sum(queued),
        reads_that_left_work=sum(last_work.get(number + 1, 0.0) > stop for number, (_, stop) in enumerate(judged)),
        idle_share=_idle_share([(start, stop) for start, stop, _, _ in work]),
    )


def _span_at(spans: list[tuple[float, float]], moment: float) -> int | None:
    number = bisect_right(spans, (moment, float("inf"))) - 1
    return number if number >= 0 and moment <= spans[number][1] else None


def _idle_share(work: list[tuple[float, float]]) -> float | None:
    if not work:
        return None
    work.sort()
    busy, end = 0.0, work[0][0]
    for start, stop in work:
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return 1.0 - busy / (end - work[0][0])


@contextmanager
def forbidding_waits(device: torch.device) -> Iterator[None]:
    """Have torch raise `RuntimeError` where an operation waits for a CUDA device."""
    if device.type != "cuda":
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def trace_round(side: Slipway) -> list[dict[str, Any]]:
    """Return the events of a round, each step's issuing marked."""
    issue = side.loop.queue_step

    def marked(*arguments: Any) -> Any:
        with record_function(ISSUE):
            return issue(*arguments)

    activities = [ProfilerActivity.CPU]
    if side.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with tempfile.TemporaryDirectory() as folder, patch.object(side.loop, "queue_step", marked):
        with profile(activities=activities) as profiler:
            side.run()
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        return json.loads(path.read_text(encoding="utf-8"))["traceEvents"]


def check_round(side: Slipway) -> str | None:
    """Return what torch said of the first operation that waits within the issuing of a step; none where none does."""
    issue = side.loop.queue_step

    def guarded(*arguments: Any) -> Any:
        with forbidding_waits(side.device):
            return issue(*arguments)

    with patch.object(side.loop, "queue_step", guarded):
        try:
            side.run()
        except RuntimeError as error:
            if "synchronizing" not in str(error):
                raise
            return str(error).splitlines()[0]
    return None


def measure_waits(case: Case, device: torch.device, *, rounds: int) -> tuple[list[Ratio], dict[str, Any]]:
    """Return ratios and figures, with batches on the device and with the loader's own, prepared by two threads."""
    ratios: list[Ratio] = []
    figures: dict[str, Any] = {}
    task = make_task(case)
    for name, num_workers in ((f"{case.model}, batches there", None), (f"{case.model}, 2 loader threads", 2)):
        side = Slipway(
            case,
            task,
            device,
            micro_batch_size=case.batch_size,
            num_workers=num_workers,
            sections=Sections.of(record_function),
            # A rehearsal on a CPU too reads outcomes one step late, as with a GPU.
            queues_steps=True,
        )
        side.run()
        found = [find_waits(trace_round(side)) for _ in range(rounds)]
        if device.type == "cuda" and not all(waits.calls and waits.idle_share is not None for waits in found):
            raise RuntimeError(f"the trace holds no work of the device: {found}")
        said = check_round(side)
        side.close()
        ratios += _judge(name, found, said, is_busy=case.model == "encoder")
        figures[name] = {"rounds": [asdict(waits) for waits in found], "torch_said": said}
    return ratios, figures


def _judge(name: str, found: list[Waits], said: str | None, *, is_busy: bool) -> list[Ratio]:
    """`is_busy`: the device is what takes the time. Else it may be done as soon as the host has queued a step."""
    ones, reads = [1.0] * len(found), [float(waits.reads) for waits in found]
    waiting = [float(sum(waits.waiting_calls.values())) for waits in found]
    queued = [float(waits.reads_with_next_queued) for waits in found]
    ratios = [
        Ratio.of(f"{name}: calls that wait in a round's steps", waiting, ones, at_most=0),
        Ratio.single(f"{name}: waits that torch's own check finds", float(said is not None), at_most=0),
        Ratio.of(f"{name}: outcomes read with the next step queued", queued, reads, at_least=1),
    ]
    idle = [waits.idle_share for waits in found if waits.idle_share is not None]
    if idle:
        going_on = [float(waits.reads_that_left_work) for waits in found]
        ratios += [
            Ratio.of(
                f"{name}: outcomes read while the device goes on", going_on, reads, at_least=1 if is_busy else None
            ),
            Ratio.of(f"{name}: share of time the device is idle", idle, [1.0] * len(idle)),
        ]
    return ratios

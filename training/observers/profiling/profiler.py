"""`--profile`: a trace of some steps by torch.profiler on every rank, and a table of where the time went on rank 0."""

from __future__ import annotations

import gzip
import json
import logging
import os
import statistics
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from ..events import Observer, ProfileEnd, RunResumed, RunStart, StageEnd, StageStart, StepEnd
from .sections import Sections
from .trace import section_times

logger = logging.getLogger("slipway")

FOLDER = "profile"
"""In the run's folder."""

_WARM_UP_STEPS = 10
"""Before the profiled steps, so that caches, memory and threads are warm. A short run warms up for a third of its steps."""

_SLOW_STEPS = 2
"""The first ones, which do not count for the time of a step without the profiler."""

_ACTIVITIES = {"cuda": ProfilerActivity.CUDA, "xpu": ProfilerActivity.XPU}


class Profiler(Observer):
    """Profiles `num_steps` steps after a warm-up, once, on this rank; rank 0 reports to `observer` where the time went.

    The steps are of one stage, the first that has some after the warm-up; if the stage ends sooner, so does the profile.
    What the run computes stays the same. A trace that cannot be written is a warning.
    """

    def __init__(self, folder: Path, *, rank: int, device: torch.device, num_steps: int, observer: Observer) -> None:
        self.sections = Sections.of(record_function)
        """To be entered by the loop."""
        self._trace = folder / FOLDER / f"rank_{rank}.trace.json.gz"
        self._is_main = rank == 0
        self._activities = [ProfilerActivity.CPU]
        if device.type in _ACTIVITIES:
            self._activities.append(_ACTIVITIES[device.type])
        self._num_steps = num_steps
        self._observer = observer
        self._most_steps: int | None = None
        self._warm_up = self._window = 0
        """Steps before the window, and in it."""
        self._seen = 0
        """Of the stage."""
        self._last_step = 0
        self._profile: profile | None = None
        self._is_done = False
        self._begun_at = self._step_at = 0.0
        self._seconds_before: list[float] = []

    def on_run_start(self, event: RunStart) -> None:
        """Remember the limit of the run's steps."""
        self._most_steps = event.recipe.max_steps

    def on_run_resumed(self, event: RunResumed) -> None:
        """Subtract the steps that a resumed run has done."""
        if self._most_steps is not None:
            self._most_steps -= event.step

    def on_stage_start(self, event: StageStart) -> None:
        """Choose the steps to profile; begin at once if there is no step to warm up on."""
        if self._is_done or self._profile is not None:
            return
        most = event.num_epochs * event.steps_per_epoch
        if self._most_steps is not None:
            most = min(most, self._most_steps)
        self._warm_up = min(_WARM_UP_STEPS, most // 3)
        self._window = max(1, min(self._num_steps, most - self._warm_up))
        self._seen = 0
        self._seconds_before = []
        self._step_at = time.perf_counter()
        if self._warm_up == 0:
            self._begin()

    def on_stage_end(self, event: StageEnd) -> None:
        """End a profile for which the stage had too few steps."""
        if self._profile is None:
            return
        if self._seen > self._warm_up:
            self._end(time.perf_counter())
        else:
            # It stopped early, before the first profiled step: a later stage may have one.
            self._profile.stop()
            self._profile = None

    def on_step(self, event: StepEnd) -> None:
        """Count a step; begin or end the profile after it."""
        if self._is_done:
            return
        self._seen, self._last_step = self._seen + 1, event.step
        now = time.perf_counter()
        if self._profile is None:
            if self._seen > _SLOW_STEPS:
                self._seconds_before.append(now - self._step_at)
            self._step_at = now
            if self._seen >= self._warm_up:
                self._begin()
        elif self._seen == self._warm_up + self._window:
            self._end(now)

    def close(self) -> None:
        """End a profile in which the run stopped."""
        if not self._is_done:
            self._end(time.perf_counter())

    def _begin(self) -> None:
        # Else Kineto, the tracer, writes its log to stderr.
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")
        profiler = profile(activities=self._activities)
        try:
            profiler.start()
        except RuntimeError as error:
            self._is_done = True
            logger.warning("--profile: nothing can be traced, training goes on: %s", error)
            return
        self._profile, self._begun_at = profiler, time.perf_counter()

    def _end(self, now: float) -> None:
        self._is_done = True
        steps = self._seen - self._warm_up
        profiler, self._profile = self._profile, None
        try:
            if profiler is not None:
                profiler.stop()
            if profiler is None or steps < 1:
                logger.warning("--profile: the run ended before the first step that was to be profiled")
                return
            self._trace.parent.mkdir(parents=True, exist_ok=True)
            profiler.export_chrome_trace(str(self._trace))
            if self._is_main:
                self._report_profile(steps, now - self._begun_at)
        except (OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
            # torch reports a full disk, and a device that failed, by RuntimeError; Kineto has written broken JSON before.
            logger.warning("--profile: %s cannot be written or read, training goes on: %s", self._trace, error)

    def _report_profile(self, steps: int, seconds: float) -> None:
        with gzip.open(self._trace, "rt", encoding="utf-8") as file:
            trace = json.load(file)
        before = self._seconds_before
        self._observer.on_profile(
            ProfileEnd(
                trace=self._trace,
                first_step=self._last_step - steps + 1,
                steps=steps,
                seconds=seconds,
                seconds_per_step_before=statistics.median(before) if len(before) >= 3 else None,
                sections=section_times(trace["traceEvents"], seconds, has_device=len(self._activities) > 1),
            )
        )

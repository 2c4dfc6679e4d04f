"""Asks the model that a person named what it needs, in a process of its own, within a limit of time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

from ...training.common.plan_file import PLAN_VARIABLE
from ...training.common.program.launched import LAUNCH_VARIABLES
from ...training.common.program.shown import one_line
from ..common.paths import python_path

ASK_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class ModelNeeds:
    """What a model needs; None for what it did not tell, and `problem` says why."""

    problem: str = ""
    parameters: int | None = None
    base_batch_size: int | None = None
    is_batch_scaled: bool = False  # the global batch is the base batch times the processes
    flops_per_sample: float | None = None  # of a forward and a backward pass, in float32, nothing fused
    bytes_per_sample: float = 0.0  # that its operations read and write
    bytes_per_pass: float = 0.0  # and what they read and write besides, whatever the samples
    launches_per_pass: int | None = None  # operations of which an accelerator starts a kernel each
    cpu_seconds: float | None = None  # a pass of `cpu_samples` on this CPU, measured
    cpu_least_seconds: float | None = None  # a pass of two samples
    cpu_samples: int | None = None
    cpu_threads: int | None = None
    cpu_share_of_others: float = 0.0  # of the processors, that other programs used meanwhile


def ask_model(arguments: Sequence[str], seconds: float = ASK_SECONDS) -> ModelNeeds:
    """Return what the model of a training with these arguments needs.

    It runs the code of the task that they name. What is not told within the time is left out.
    """
    environment = {name: value for name, value in os.environ.items() if name not in (PLAN_VARIABLE, *LAUNCH_VARIABLES)}
    environment |= {"PYTHONPATH": python_path(environment), "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "slipway.training.run.advice.needs", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,  # so that what the task has started ends with it
    )
    is_late = False
    try:
        try:
            told, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            is_late = True
            _end(process)
            told, errors = process.communicate()
    finally:
        _end(process)
        process.wait()
    found = _read(told)
    if is_late:
        return replace(found, problem=found.problem or f"it did not answer within {seconds:g} s")
    if process.returncode not in (0, 2):
        last = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        return replace(found, problem=found.problem or one_line(last)[:200])
    return found


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def _read(told: str) -> ModelNeeds:
    """Return what the lines of an answer say; one that was cut off says nothing."""
    known = {one.name for one in fields(ModelNeeds)}
    values: dict[str, Any] = {}
    for line in told.splitlines():
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                values |= {"problem": one_line(str(found["error"]))[:300]} if "error" in found else found
    return ModelNeeds(**{name: value for name, value in values.items() if name in known})

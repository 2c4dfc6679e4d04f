"""Situations for the doctor's checks: a recorded machine, an environment, what is fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from slipway.launcher.doctor.check import DoctorContext
from slipway.launcher.hardware.record import Hardware
from slipway.launcher.plan.make_plan import Intent, make_plan
from tests.launcher.machines import machines

GIB = 1 << 30


def make_context(
    machine: str | Hardware, environ: Mapping[str, str] | None = None, runs_dir: Path = Path("runs"), **intent: Any
) -> DoctorContext:
    hardware = machines()[machine] if isinstance(machine, str) else machine
    hardware = replace(hardware, environment=replace(hardware.environment, variables=dict(environ or {})))
    return DoctorContext(
        hardware=hardware,
        plan=make_plan(hardware, Intent(**intent)),
        environ=environ or {},
        runs_dir=runs_dir,
        timeout_seconds=10.0,
    )


def with_memory(name: str, **changes: Any) -> Hardware:
    hardware = machines()[name]
    return replace(hardware, memory=replace(hardware.memory, **changes))


def with_cpu(name: str, **changes: Any) -> Hardware:
    hardware = machines()[name]
    return replace(hardware, cpu=replace(hardware.cpu, **changes))

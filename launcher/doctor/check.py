"""The records of the doctor: what a check looks at, what it found, and the report of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...training.common.json_records import from_json, to_json
from ..hardware.record import Hardware
from ..plan.records import LaunchPlan

DOCTOR_SCHEMA_VERSION = 1
State = Literal["pass", "warn", "fail", "skip"]
_WORST_FIRST: tuple[State, ...] = ("fail", "warn", "pass", "skip")


@dataclass(frozen=True, kw_only=True)
class DoctorContext:
    """The machine, what is planned for it, and how far the checks may go."""

    hardware: Hardware
    plan: LaunchPlan
    environ: Mapping[str, str]  # of a recorded machine: what its record kept
    runs_dir: Path
    timeout_seconds: float  # for each start of processes


@dataclass(frozen=True, kw_only=True)
class Check:
    """What one check found: `evidence` in words, `measured` in numbers (units in the names), `remedy` to run or change."""

    name: str
    state: State
    evidence: str
    measured: dict[str, float] = field(default_factory=dict)
    remedy: str | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """All checks, in the order in which they ran; `state` is the worst of them."""

    schema_version: int
    state: State
    checks: tuple[Check, ...]

    def to_json(self) -> str:
        """Return the report as JSON text that `from_json` turns into an equal report."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str, where: str = "report") -> Report:
        """Return the report written in `text`; `where` (a file) begins the message of a `UserError`."""
        return from_json(cls, DOCTOR_SCHEMA_VERSION, text, where, remake="slipway doctor --json")


def report_of(checks: tuple[Check, ...]) -> Report:
    """Return the report of some checks: `fail` beats `warn` beats `pass` beats `skip`."""
    state = worst(check.state for check in checks)
    return Report(schema_version=DOCTOR_SCHEMA_VERSION, state=state, checks=checks)


def worst(states: Iterable[State]) -> State:
    """Return the worst of some states; `skip` where there is none."""
    return min(states, key=_WORST_FIRST.index, default="skip")


def passed(name: str, evidence: str, **measured: float) -> Check:
    """Return a check that found nothing wrong."""
    return Check(name=name, state="pass", evidence=evidence, measured=measured)


def warned(name: str, evidence: str, remedy: str | None, **measured: float) -> Check:
    """Return a check that found what is slow or doubtful."""
    return Check(name=name, state="warn", evidence=evidence, measured=measured, remedy=remedy)


def failed(name: str, evidence: str, remedy: str | None, **measured: float) -> Check:
    """Return a check that found what keeps a training from running as planned."""
    return Check(name=name, state="fail", evidence=evidence, measured=measured, remedy=remedy)


def skipped(name: str, reason: str) -> Check:
    """Return a check that does not apply, with the reason."""
    return Check(name=name, state="skip", evidence=reason)

"""Records of the doctor: the context of the checks, the result of one, the report of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...training.common.json_records import from_json, to_json
from ...training.common.plan_file import LaunchPlan
from ..hardware.record import Hardware

DOCTOR_SCHEMA_VERSION = 1
State = Literal["pass", "warn", "fail", "skip"]
_WORST_FIRST: tuple[State, ...] = ("fail", "warn", "pass", "skip")


@dataclass(frozen=True, kw_only=True)
class DoctorContext:
    """What the checks look at: a machine, the plan for it, its environment variables, and the limits of the checks."""

    hardware: Hardware
    plan: LaunchPlan
    environ: Mapping[str, str]  # of a recorded machine: the variables in its record
    runs_dir: Path
    timeout_seconds: float  # for each start of processes


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of one check: `evidence` in words, `measured` in numbers (units in the names), `remedy` to run or change."""

    name: str
    state: State
    evidence: str
    measured: dict[str, float] = field(default_factory=dict)
    remedy: str | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """The results of all checks, in the order in which they ran; `state` is the worst of theirs."""

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


def make_report(checks: tuple[Check, ...]) -> Report:
    """Return the report of checks; its state is the worst of theirs: fail, then warn, then pass, then skip."""
    states = {check.state for check in checks}
    state: State = next((state for state in _WORST_FIRST if state in states), "skip")
    return Report(schema_version=DOCTOR_SCHEMA_VERSION, state=state, checks=checks)


def passed(name: str, evidence: str, **measured: float) -> Check:
    """Return the result of a check that found nothing wrong."""
    return Check(name=name, state="pass", evidence=evidence, measured=measured)


def warned(name: str, evidence: str, remedy: str | None, **measured: float) -> Check:
    """Return the result of a check that found something slow or doubtful."""
    return Check(name=name, state="warn", evidence=evidence, measured=measured, remedy=remedy)


def failed(name: str, evidence: str, remedy: str | None, **measured: float) -> Check:
    """Return the result of a check that found what keeps a training from running as planned."""
    return Check(name=name, state="fail", evidence=evidence, measured=measured, remedy=remedy)


def skipped(name: str, reason: str) -> Check:
    """Return the result of a check that does not apply here, with the reason."""
    return Check(name=name, state="skip", evidence=reason)

"""What goes into a plan and what comes out: `Intent`, `Reasoned`, `LaunchPlan`, to and from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, Literal, TypeVar

from ...training.common.json_records import from_json, to_json
from ...training.common.settings import Origin, Setting

T = TypeVar("T")
PLAN_SCHEMA_VERSION = 1
Device = Literal["cpu", "cuda", "rocm", "xpu", "mps", "npu", "hpu"]
Precision = Literal["no", "fp16", "bf16", "fp8"]
Sharding = Literal["replicate", "fsdp", "zero2", "zero3"]
Rendezvous = Literal["static", "c10d"]
_FIXED = "fixed by "


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What the user fixed; None leaves the choice to the plan. Each field is an option of the same name."""

    device: Device | None = None
    num_processes: int | None = None  # of all machines together
    num_machines: int | None = None
    machine_rank: int | None = None
    main_process_ip: str | None = None
    main_process_port: int | None = None
    rdzv_backend: Rendezvous | None = None
    mixed_precision: Precision | None = None
    parameters: int | None = None  # of the model, by number; float32 is assumed for the training state
    sharding: Sharding | None = None
    compile: bool | None = None
    global_batch_size: int | None = None
    micro_batch_size: int | None = None
    gradient_accumulation: int | None = None
    share_weights: tuple[float, ...] | None = None
    threads_per_process: int | None = None
    num_workers: int | None = None

    def setting(self, name: str) -> Setting | None:
        """Return where a field's value was fixed; None where only the caller knows."""
        return None


@dataclass(frozen=True, kw_only=True, eq=False)
class MergedIntent(Intent):
    """What all levels fixed together, and where; equal to an `Intent` of the same values."""

    settings: Mapping[str, Setting]

    def setting(self, name: str) -> Setting | None:
        """Return where a field's value was fixed; None for a value that was put in its place since."""
        found = self.settings.get(name)
        return found if found and found.value == getattr(self, name) else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Intent) and all(
            getattr(self, one.name) == getattr(other, one.name) for one in fields(Intent)
        )

    __hash__ = Intent.__hash__


@dataclass(frozen=True, kw_only=True)
class Reasoned(Generic[T]):
    """A value, why it is so, the fact behind it, and who decided; `warnings` are one line each."""

    value: T
    reason: str
    fact: str = ""
    origin: Origin = "detected"
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PlannedDevice:
    """The device of one local process: `index` counts within the kind, `part` is a MIG UUID or `tile 1`."""

    index: int
    part: str | None
    uuid: str | None
    name: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Why a field of the plan, or a variable of its environment, has its value."""

    field: str
    origin: Origin
    reason: str
    fact: str

    @property
    def fixed(self) -> bool:
        """Whether a person fixed it; `OMP_NUM_THREADS` and the like are often set by a system."""
        return self.reason.startswith(_FIXED)


@dataclass(frozen=True, kw_only=True)
class LaunchPlan:
    """How a training is started on this machine. The devices are those of this machine, in the order of local ranks."""

    schema_version: int
    device: Device
    devices: tuple[PlannedDevice, ...]  # none on the CPU
    num_processes: int  # of all machines together
    num_machines: int
    machine_rank: int
    main_process_ip: str | None
    main_process_port: int | None
    rdzv_backend: Rendezvous
    mixed_precision: Precision
    sharding: Sharding
    compile: bool
    micro_batch_size: int | None
    gradient_accumulation: int
    share_weights: tuple[float, ...]  # one for each process of all machines
    threads_per_process: int
    num_workers: int
    cpu_affinity: tuple[str, ...]  # a CPU list such as `0-27` for each local process; none: not bound
    environment: dict[str, str]
    choices: tuple[Choice, ...]
    warnings: tuple[str, ...]

    @property
    def local_processes(self) -> int:
        """Processes on this machine."""
        return self.num_processes // self.num_machines

    def to_json(self) -> str:
        """Return the plan as JSON text that `from_json` turns into an equal plan."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str, where: str = "plan") -> LaunchPlan:
        """Return the plan written in `text`; `where` (a file) begins the message of a `UserError`."""
        return from_json(cls, PLAN_SCHEMA_VERSION, text, where, remake="slipway plan --json")


def reason_of(setting: Setting) -> str:
    """Return why a plan has a value that was fixed."""
    return _FIXED + (setting.place or "you")


def fixed(value: T, fact: str = "", warnings: tuple[str, ...] = ()) -> Reasoned[T]:
    """Return a decision of the user's."""
    return Reasoned(value=value, reason=_FIXED + "you", fact=fact, origin="user", warnings=warnings)


def default(value: T, reason: str, fact: str = "") -> Reasoned[T]:
    """Return a decision that nothing on this machine changes."""
    return Reasoned(value=value, reason=reason, fact=fact, origin="default")


def choice(field: str, decision: Reasoned[Any]) -> Choice:
    """Return the record of a decision in a plan."""
    return Choice(field=field, origin=decision.origin, reason=decision.reason, fact=decision.fact)

"""The plan of a launch: one record, which the launcher writes to a file named by `SLIPWAY_PLAN` and the training reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import UserError
from .json_records import from_json, to_json
from .settings import Origin
from .small_files import UnreadableError, read_small_text, reason_of

PLAN_VARIABLE = "SLIPWAY_PLAN"
PLAN_SCHEMA_VERSION = 2
Device = Literal["cpu", "cuda", "rocm", "xpu", "mps", "npu", "hpu"]
Precision = Literal["no", "fp16", "bf16", "fp8"]
Sharding = Literal["replicate", "fsdp", "zero2", "zero3"]
Rendezvous = Literal["static", "c10d"]


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
    fixed: bool  # by a person: an option, a settings file, a flag
    reason: str
    fact: str


@dataclass(frozen=True, kw_only=True)
class ContinuedRun:
    """The run that a new one goes on from: it takes the weights, and the recipe with what is asked otherwise."""

    run: str  # its folder
    experiment_name: str | None  # that it was given, by which a script that trains several knows which of them it is
    options: dict[str, str]  # of the training, as text


@dataclass(frozen=True, kw_only=True)
class LaunchPlan:
    """How a training is started on this machine. The devices are those of this machine, in the order of local ranks."""

    schema_version: int
    device: Device
    devices: tuple[PlannedDevice, ...]  # empty on the CPU
    num_processes: int  # of all machines together
    num_machines: int
    processes_per_host: tuple[int, ...] = ()  # where the machines have different numbers of processes
    machine_rank: int
    main_process_ip: str | None
    main_process_port: int | None
    rdzv_backend: Rendezvous
    mixed_precision: Precision
    sharding: Sharding
    compile: bool
    global_batch_size: int | None = None  # that the micro-batches are planned for; the training has its own
    micro_batch_size: int | None
    gradient_accumulation: int
    share_weights: tuple[float, ...]  # one for each process of all machines
    threads_per_process: int
    num_workers: int
    cpu_affinity: tuple[str, ...]  # a CPU list such as `0-27` for each local process; empty: not bound
    resume: str | None = None  # the run to go on with: its folder, or `auto` where a script has several
    continues: ContinuedRun | None = None  # the run that a new one goes on from
    environment: dict[str, str]
    accelerate: dict[str, dict[str, Any]] = field(default_factory=dict)  # sections of a config for Accelerate's own use
    choices: tuple[Choice, ...]
    warnings: tuple[str, ...]

    @property
    def local_processes(self) -> int:
        """Processes on this machine."""
        if self.processes_per_host:
            return self.processes_per_host[self.machine_rank]
        return self.num_processes // self.num_machines

    def choice(self, field: str) -> Choice | None:
        """Return why a field has its value; None where nothing was to be chosen."""
        return next((one for one in self.choices if one.field == field), None)

    def to_json(self) -> str:
        """Return the plan as JSON text that `from_json` turns into an equal plan."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str, where: str = "plan", remake: str = "slipway plan --json") -> LaunchPlan:
        """Return the plan written in `text`; `where` (a file) begins the message of a `UserError`."""
        return from_json(cls, PLAN_SCHEMA_VERSION, text, where, remake)


def read_launch_plan(environment: Mapping[str, str]) -> LaunchPlan | None:
    """Return the plan that `SLIPWAY_PLAN` names; None where it names none. Raises `UserError` for a file that is no plan."""
    name = environment.get(PLAN_VARIABLE)
    if not name:
        return None
    where = f"{PLAN_VARIABLE}={name}"
    try:
        return LaunchPlan.from_json(read_small_text(name), where, remake="slipway launch")
    except (OSError, UnreadableError) as error:
        problem = f"{where}: {reason_of(error)}"
    except UserError as error:
        problem = str(error)
    raise UserError(f"{problem}; start with `slipway launch`, or unset {PLAN_VARIABLE}")

"""What a plan is made from: `Intent`, what a person fixed, and `Reasoned`, a decision with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

from ...training.common.plan_file import Choice, Device, Precision, Rendezvous, Sharding
from ...training.common.settings import Origin, Setting

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What the user fixed; None leaves the choice to the plan. Each field is an option of the same name."""

    device: Device | None = None
    gpu_ids: tuple[int, ...] | None = None  # of CUDA, by the numbers that `slipway detect` shows, in the order of ranks
    num_processes: int | None = None  # of all machines together
    processes_per_host: tuple[int, ...] | None = None  # one number, or one for each machine
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

    def sections(self) -> Mapping[str, dict[str, Any]]:
        """Return the sections of an Accelerate config that a person fixed, for Accelerate's own use."""
        return {}


@dataclass(frozen=True, kw_only=True, eq=False)
class MergedIntent(Intent):
    """What all levels fixed together, and where; equal to an `Intent` of the same values."""

    settings: Mapping[str, Setting]
    note: str = ""
    """What became of the keys of an Accelerate config."""
    accelerate: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def sections(self) -> Mapping[str, dict[str, Any]]:
        """Return the sections of the config whose values hold: a flag may have taken their place."""
        chosen = {"fsdp_config": "sharding", "deepspeed_config": "sharding", "parallelism_config": "sharding"}
        chosen |= {"dynamo_config": "compile", "fp8_config": "mixed_precision"}
        origins = {name: setting.origin for name in chosen if (setting := self.setting(chosen[name]))}
        return {name: dict(found) for name, found in self.accelerate.items() if origins.get(name) == "--config"}

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
    """A value, why it is so, the fact behind it, who decided, and whether a person did; `warnings` are one line each."""

    value: T
    reason: str
    fact: str = ""
    origin: Origin = "detected"
    fixed: bool = False
    warnings: tuple[str, ...] = ()


def reason_of(setting: Setting) -> str:
    """Return why a plan has a value that was fixed."""
    return f"fixed by {setting.place or 'you'}"


def fixed(value: T, fact: str = "", warnings: tuple[str, ...] = ()) -> Reasoned[T]:
    """Return a decision of the user's."""
    return Reasoned(value=value, reason="fixed by you", fact=fact, origin="user", fixed=True, warnings=warnings)


def default(value: T, reason: str, fact: str = "") -> Reasoned[T]:
    """Return a decision that nothing on this machine changes."""
    return Reasoned(value=value, reason=reason, fact=fact, origin="default")


def choice(field: str, decision: Reasoned[Any]) -> Choice:
    """Return the record of a decision in a plan."""
    return Choice(field=field, origin=decision.origin, fixed=decision.fixed, reason=decision.reason, fact=decision.fact)

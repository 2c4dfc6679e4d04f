"""The plan that a launcher left for the training: a JSON file named by `SLIPWAY_PLAN`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import UserError
from .training_config import TrainingConfig

VARIABLE = "SLIPWAY_PLAN"
_SCHEMA_VERSION = 1
_DEVICES = {"rocm": "cuda"}
"""Kinds that torch calls otherwise."""


@dataclass(frozen=True, kw_only=True)
class LaunchedPlan:
    """What of the launcher's plan concerns a training."""

    where: str
    num_processes: int
    device: str
    mixed_precision: str
    micro_batch_size: int | None
    num_workers: int
    is_sharded: bool
    """By FSDP2."""

    def check_world(self, num_processes: int, device: str) -> None:
        """Raise `UserError` unless the world is the planned one."""
        if (num_processes, device) != (self.num_processes, self.device):
            raise UserError(
                f"{self.where}: the plan is {self.num_processes} on {self.device}, but {num_processes} on {device} were "
                f"started (processes on device); start it with `slipway launch`, or unset {VARIABLE}"
            )

    def fill_in(self, config: TrainingConfig) -> TrainingConfig:
        """Return the config with the plan's values where it leaves the choice."""
        found: dict[str, object] = {}
        if config.num_workers is None:
            found["num_workers"] = self.num_workers
        if config.micro_batch_size == "auto" and config.gradient_accumulation is None and self.micro_batch_size:
            found["micro_batch_size"] = self.micro_batch_size
        if config.sharding == "auto" and self.is_sharded:
            found["sharding"] = "fsdp"
        if config.mixed_precision == "auto" and self.mixed_precision in ("no", "fp16", "bf16"):
            found["mixed_precision"] = self.mixed_precision
        return dataclasses.replace(config, **found)  # type: ignore[arg-type]


def launched_plan(environment: Mapping[str, str]) -> LaunchedPlan | None:
    """Return the plan that the environment names, if it does. Raises `UserError` for a file that is none."""
    name = environment.get(VARIABLE)
    if not name:
        return None
    where = f"{VARIABLE}={name}"
    try:
        data = json.loads(Path(name).read_text(encoding="utf-8"))
        if data["schema_version"] != _SCHEMA_VERSION:
            raise UserError(f"{where}: written by another version of slipway; start again with `slipway launch`")
        size = data["micro_batch_size"]
        return LaunchedPlan(
            where=where,
            num_processes=int(data["num_processes"]),
            device=_DEVICES.get(data["device"], str(data["device"])),
            mixed_precision=str(data["mixed_precision"]),
            micro_batch_size=None if size is None else int(size),
            num_workers=int(data["num_workers"]),
            is_sharded=data["sharding"] == "fsdp",
        )
    except OSError as error:
        raise UserError(f"{where}: {error.strerror}; start with `slipway launch`, or unset {VARIABLE}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{where}: not a plan; start with `slipway launch`, or unset {VARIABLE}") from None

"""The launch plan as levels of the settings: what the launcher chose by itself, and what a person fixed for the launch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.plan_file import PLAN_VARIABLE, LaunchPlan, read_launch_plan
from ..common.run_names import CHECKPOINTS, RECORD
from ..common.settings import Level, Setting
from .options import GeneralOptions

_DEVICES = {"rocm": "cuda"}
"""Kinds that torch calls otherwise."""
_OF_ACCELERATE_ALONE = {
    "fsdp_config.fsdp_offload_params": "nothing is offloaded: leave it out, and take more devices or --gradient-checkpointing",
    "fsdp_config.fsdp_activation_checkpointing": "leave it out and give --gradient-checkpointing",
    "parallelism_config.parallelism_config_tp_size": "parameters are sharded, layers are not cut: leave it out",
    "parallelism_config.parallelism_config_cp_size": "sequences are not cut: leave it out",
    "parallelism_config.parallelism_config_sp_size": "sequences are not cut: leave it out",
}
"""Settings of Accelerate's that this training has not, with what to do. Others only say how sharding and compiling are done."""


@dataclass(frozen=True, kw_only=True)
class LaunchedPlan:
    """The plan of the launch that started this process."""

    plan: LaunchPlan
    where: str
    """Begins the message of an error."""

    @property
    def device(self) -> str:
        """The planned kind of device, as torch calls it."""
        return _DEVICES.get(self.plan.device, self.plan.device)

    def levels(self) -> tuple[Level, Level]:
        """Return what the plan sets of the training's options: what was chosen without being asked for, and what was fixed.

        The first is weaker than what any file or variable says, the second stronger.
        """
        chosen: Level = {}
        fixed: Level = {}
        for name, value in self._options().items():
            choice = self.plan.choice(name)
            if choice is not None:
                setting = Setting(
                    value=value,
                    origin="launch plan",
                    place=self.where,
                    reason=choice.reason,
                    is_fixed=choice.fixed,
                )
                (fixed if choice.fixed else chosen)[name] = setting
        threads = self.plan.choice("threads_per_process")
        if threads is not None and threads.fixed:  # else the environment carries their number
            fixed["threads"] = Setting(
                value=self.plan.threads_per_process,
                origin="launch plan",
                place=self.where,
                reason=threads.reason,
                is_fixed=True,
            )
        # Of these one follows from the other, by the batch that was given to the launcher; the training knows its own.
        for name in ("micro_batch_size", "gradient_accumulation"):
            chosen.pop(name, None)
        return chosen, fixed

    def _options(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "device": self.device,
            "mixed_precision": plan.mixed_precision,
            "sharding": plan.sharding,
            "compile": plan.compile,
            "micro_batch_size": plan.micro_batch_size,
            "gradient_accumulation": plan.gradient_accumulation,
            "share_weights": plan.share_weights,
            "num_workers": plan.num_workers,
        }

    def with_resume(self, config: GeneralOptions, settings: Level) -> Level:
        """Return the settings of a config with the run to go on with, where the launch names one for it.

        It takes the place of `auto`, for another run of the experiment may be the newest by now, and of a checkpoint of that
        run, which was the place to begin from the first time only. A run of another name is not this config's.
        """
        planned, asked = self.plan.resume, config.resume
        if planned is None or (planned == "auto" and asked is not None):
            return settings
        if planned != "auto":
            # A run of a study is begun by the command of the study, whose folder it is in.
            run, name = Path(planned), config.experiment_name
            names = [run.name, *([run.parent.name] if (run.parent / RECORD).is_file() else [])]
            if name is not None and not any(re.fullmatch(re.escape(name) + r"(-\d+)?", one) for one in names):
                return settings
            if asked not in (None, "auto") and _run_name(Path(asked)) not in names:
                return settings
        choice = self.plan.choice("resume")
        reason = "" if choice is None else choice.reason
        return {**settings, "resume": Setting(value=planned, origin="launch plan", place=self.where, reason=reason)}

    def check_world(self, num_processes: int, device: str) -> None:
        """Raise `UserError` unless the world is the planned one."""
        if (num_processes, device) != (self.plan.num_processes, self.device):
            raise UserError(
                f"{self.where}: the plan is {self.plan.num_processes} on {self.device}, but {num_processes} on {device} "
                f"were started (processes on device); start it with `slipway launch`, or unset {PLAN_VARIABLE}"
            )


def launched_plan(environment: Mapping[str, str]) -> LaunchedPlan | None:
    """Return the plan that the environment names, if it does. Raises `UserError` for a file that is no plan."""
    plan = read_launch_plan(environment)
    if plan is None:
        return None
    found = LaunchedPlan(plan=plan, where=f"{PLAN_VARIABLE}={environment[PLAN_VARIABLE]}")
    wrong = [
        f"{name}: {str(value).lower()}: {remedy}"
        for name, remedy in _OF_ACCELERATE_ALONE.items()
        if (value := plan.accelerate.get(name.partition(".")[0], {}).get(name.partition(".")[2]))
        not in (None, False, 1)
        or value is True
    ]
    if wrong:
        raise UserError(
            f"the launch's Accelerate config has settings that Slipway's training has not: {'; '.join(wrong)}"
        )
    return found


def _run_name(path: Path) -> str:
    """Return the name of the run that a path of it, or of one of its checkpoints, names."""
    return path.parent.parent.name if path.parent.name == CHECKPOINTS else path.name

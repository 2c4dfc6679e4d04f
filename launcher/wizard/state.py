"""The state of a conversation: the options that a person has fixed, and the plan that follows from them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...training.common.errors import UserError, flag_of
from ...training.common.plan_file import LaunchPlan
from ...training.common.program.launched import first_host
from ..hardware.record import Hardware
from ..plan.make_plan import make_plan
from ..plan.records import Intent, MergedIntent
from ..plan.settings import read_intent
from .model import ModelNeeds

_UNNAMED_HOST = "HOST"  # machine 0 in plans that are made before its address is known


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine that is planned for; `options` name it to a command where it is not this one."""

    hardware: Hardware
    options: tuple[str, ...] = ()

    @property
    def is_here(self) -> bool:
        """Whether it is this machine."""
        return not self.options


@dataclass(frozen=True, kw_only=True)
class WizardState:
    """The options so far, and the plan that `slipway config` with the same options makes."""

    machine: Machine
    options: Mapping[str, Any]  # by field of `Intent`, as on a command line; None is not given
    config: str | None  # the file of `--config`
    script: str | None  # with its arguments, as a shell splits them; None: Slipway's own training
    intent: MergedIntent
    plan: LaunchPlan
    needs: ModelNeeds = field(default_factory=ModelNeeds)

    def with_options(self, **changes: Any) -> WizardState:
        """Return the state with options changed; None takes one back. Raises `UserError` for what cannot work."""
        made = make_state(self.machine, {**self.options, **changes}, self.config, self.script)
        return replace(made, needs=self.needs)

    @property
    def is_meeting_place_known(self) -> bool:
        """Whether the address of machine 0 is known or not needed."""
        return _is_meeting_place_known(self.machine.hardware, self.intent)

    def command_options(self) -> list[str]:
        """Return what `slipway plan`, `config`, `launch` and `doctor` are given to make the same plan."""
        words = [] if self.config is None else ["--config", self.config]
        for name in Intent.__dataclass_fields__:
            value, flag = self.options.get(name), flag_of(name)
            if isinstance(value, bool):
                words.append(flag if value else flag.replace("--", "--no-", 1))
            elif value is not None:
                words += [flag, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
        return words


def make_state(
    machine: Machine, options: Mapping[str, Any], config: str | None = None, script: str | None = None
) -> WizardState:
    """Return the state with the plan for these options. Raises `UserError` for options that cannot work."""
    intent = read_intent(dict(options), config, os.environ)
    planned: Intent = intent
    if not _is_meeting_place_known(machine.hardware, intent):
        planned = replace(intent, main_process_ip=_UNNAMED_HOST)
    plan = make_plan(machine.hardware, planned)
    return WizardState(machine=machine, options=options, config=config, script=script, intent=intent, plan=plan)


def default_state(state: WizardState) -> WizardState:
    """Return the state in which nothing is fixed, not even by a settings file."""
    plan = make_plan(state.machine.hardware)
    intent = MergedIntent(settings={})
    return replace(state, options={}, config=None, script=None, intent=intent, plan=plan, needs=ModelNeeds())


def _is_meeting_place_known(hardware: Hardware, intent: Intent) -> bool:
    slurm = hardware.scheduler.slurm
    machines = intent.num_machines or (slurm and slurm.node_count) or 1
    named = bool(slurm and slurm.node_list and first_host(slurm.node_list))
    return machines == 1 or intent.main_process_ip is not None or named


def new_warnings(before: WizardState, after: WizardState) -> list[str]:
    """Return the warnings of the plan that are new in the second state, without the flags that nobody typed."""
    return [without_flag(warning) for warning in after.plan.warnings if warning not in before.plan.warnings]


def without_flag(message: str) -> str:
    """Return a message of the plan without the flag it begins with, which nobody gave in a conversation."""
    return re.sub(r"^--[a-z-]+[^:]*: ", "", message)


def reason_of(error: UserError) -> str:
    """Return why an answer cannot be, for a person who typed no flag."""
    return without_flag(str(error))

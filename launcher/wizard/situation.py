"""Where a conversation stands: the plan that follows from the answers, what an answer would change, what a reply means."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...training.common.errors import UserError, nearest
from ...training.common.plan_file import LaunchPlan
from ..hardware.record import Hardware
from ..plan.devices import first_host
from ..plan.make_plan import make_plan
from ..plan.records import Intent
from .answers import Answers, answered

_UNNAMED_HOST = "HOST"  # stands for machine 0 in plans that are made before its address was asked


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """One thing to choose: `label` is what a person types or reads, `value` goes into the answers."""

    label: str
    value: Any  # None: the recommendation
    meaning: str
    possible: bool = True


@dataclass(frozen=True, kw_only=True)
class WizardState:
    """What a question is asked from: the machine, the answers so far, the plan that follows from them."""

    hardware: Hardware
    answers: Answers
    plan: LaunchPlan

    def because(self, field: str) -> str:
        """Return the reason of a choice of the plan, and its fact."""
        choice = next(one for one in self.plan.choices if one.field == field)
        return f"{choice.reason}; {choice.fact}" if choice.fact else choice.reason

    def asked(self, name: str, value: Any) -> WizardState:
        """Return the situation after an answer. Raises `UserError` for one that cannot work."""
        return situation(self.hardware, answered(self.answers, name, value))

    def option(self, name: str, value: Any, meaning: Callable[[LaunchPlan], str] | str, label: str = "") -> Alternative:
        """Return an option with what the plan says to it: why it cannot work, how it works badly, else its meaning."""
        label = label or str(value)
        try:
            after = self.asked(name, value)
        except UserError as error:
            return Alternative(label=label, value=value, meaning=without_flag(str(error)), possible=False)
        warnings = new_warnings(self, after)
        said = meaning if isinstance(meaning, str) else meaning(after.plan)
        return Alternative(label=label, value=value, meaning=without_flag(warnings[0]) if warnings else said)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question whose answer is the key `name`. The first of its options, if any, is the recommendation."""

    name: str
    title: str
    more: str  # what `?` says
    worth: Callable[[WizardState], bool]
    options: Callable[[WizardState], Sequence[Alternative]]
    prompt: str = ""  # names the value to type; empty where the options are numbered
    read: Callable[[str], Any] | None = None  # turns other text than the options into a value; None: only the options
    other: str = ""  # names such text where the options are numbered: `path`

    @property
    def numbered(self) -> bool:
        """Return whether options are chosen by their position: not where a value is asked for, itself often a number."""
        return not self.prompt


def situation(hardware: Hardware, answers: Answers) -> WizardState:
    """Return what the answers lead to. Raises `UserError` where that cannot work."""
    intent = answers.intent
    if not meeting_place_known(hardware, intent):
        intent = replace(intent, main_process_ip=_UNNAMED_HOST)
    return WizardState(hardware=hardware, answers=answers, plan=make_plan(hardware, intent))


def meeting_place_known(hardware: Hardware, intent: Intent) -> bool:
    """Return whether machine 0 has an address, or none is needed."""
    slurm = hardware.scheduler.slurm
    machines = intent.num_machines or (slurm and slurm.node_count) or 1
    named = bool(slurm and slurm.node_list and first_host(slurm.node_list))
    return machines == 1 or intent.main_process_ip is not None or named


def new_warnings(before: WizardState, after: WizardState) -> list[str]:
    """Return the warnings of a plan that an answer brought."""
    return [warning for warning in after.plan.warnings if warning not in before.plan.warnings]


def without_flag(message: str) -> str:
    """Return a message of the plan without the flag it begins with: a person in a conversation gave none."""
    return re.sub(r"^--[a-z-]+[^:]*: ", "", message)


def resolve(question: Question, options: Sequence[Alternative], text: str) -> Any:
    """Return the value that typed text means; None for the recommendation. Raises `UserError` for what means nothing."""
    if not text:
        if not options:
            raise UserError("nothing is recommended here; type a value")
        return options[0].value
    possible = [option for option in options if option.possible]
    if question.numbered and text.isdecimal() and 1 <= int(text) <= len(possible):
        return possible[int(text) - 1].value
    for option in options:
        if option.label.lower() == text.lower():
            return option.value
    if question.read is None:
        labels = [option.label for option in options]
        raise UserError(f"{text!r} is none of them{nearest(text.lower(), labels)}; type 1 to {len(possible)} or a name")
    return question.read(text)

"""The state of a conversation: the answers, the plan that follows from them, what another answer would change."""

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
from .answers import Answers, with_answer

_UNNAMED_HOST = "HOST"  # machine 0 in plans that are made before its address is known


@dataclass(frozen=True, kw_only=True)
class AnswerOption:
    """An answer to choose: a person reads or types the `label`; the `value` goes into the answers."""

    label: str
    value: Any  # None: take the recommendation
    meaning: str
    possible: bool = True


@dataclass(frozen=True, kw_only=True)
class WizardState:
    """The machine, the answers so far, and the plan that follows from them."""

    hardware: Hardware
    answers: Answers
    plan: LaunchPlan

    def reason_of(self, field: str) -> str:
        """Return the reason for a choice of the plan, with its fact."""
        choice = next(one for one in self.plan.choices if one.field == field)
        return f"{choice.reason}; {choice.fact}" if choice.fact else choice.reason

    def with_answer(self, name: str, value: Any) -> WizardState:
        """Return the state after an answer. Raises `UserError` for an answer that cannot work."""
        return make_state(self.hardware, with_answer(self.answers, name, value))

    def option(
        self, name: str, value: Any, meaning: Callable[[LaunchPlan], str] | str, label: str = ""
    ) -> AnswerOption:
        """Return an option, described by why it cannot work, else by the warning it brings, else by its meaning."""
        label = label or str(value)
        try:
            after = self.with_answer(name, value)
        except UserError as error:
            return AnswerOption(label=label, value=value, meaning=without_flag(str(error)), possible=False)
        warnings = new_warnings(self, after)
        text = meaning if isinstance(meaning, str) else meaning(after.plan)
        return AnswerOption(label=label, value=value, meaning=without_flag(warnings[0]) if warnings else text)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question; `name` is the key of its answer. The first of its options, if it has any, is the recommendation."""

    name: str
    title: str
    explanation: str  # printed for the reply `?`
    is_worth_asking: Callable[[WizardState], bool]
    options: Callable[[WizardState], Sequence[AnswerOption]]
    prompt: str = ""  # names the value to type; empty where the options are numbered
    read: Callable[[str], Any] | None = None  # makes a value of typed text that is no option; None: only options
    free_text: str = ""  # what to call such text where the options are numbered: `path`

    @property
    def numbered(self) -> bool:
        """Return whether options are chosen by number: not where a value is typed, which is often a number itself."""
        return not self.prompt


def make_state(hardware: Hardware, answers: Answers) -> WizardState:
    """Return the state with the plan for these answers. Raises `UserError` for answers that cannot work."""
    intent = answers.intent
    if not is_meeting_place_known(hardware, intent):
        intent = replace(intent, main_process_ip=_UNNAMED_HOST)
    return WizardState(hardware=hardware, answers=answers, plan=make_plan(hardware, intent))


def is_meeting_place_known(hardware: Hardware, intent: Intent) -> bool:
    """Return whether the address of machine 0 is known or not needed."""
    slurm = hardware.scheduler.slurm
    machines = intent.num_machines or (slurm and slurm.node_count) or 1
    named = bool(slurm and slurm.node_list and first_host(slurm.node_list))
    return machines == 1 or intent.main_process_ip is not None or named


def new_warnings(before: WizardState, after: WizardState) -> list[str]:
    """Return the warnings of the plan that are new in the second state."""
    return [warning for warning in after.plan.warnings if warning not in before.plan.warnings]


def without_flag(message: str) -> str:
    """Return a message of the plan without the flag it begins with, which nobody gave in a conversation."""
    return re.sub(r"^--[a-z-]+[^:]*: ", "", message)


def parse_reply(question: Question, options: Sequence[AnswerOption], text: str) -> Any:
    """Return the value of a reply; None for the recommendation. Raises `UserError` for a reply that is no answer."""
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
        raise UserError(
            f"{text!r} is not one of them{nearest(text.lower(), labels)}; type 1 to {len(possible)} or a name"
        )
    return question.read(text)

"""The conversation of the wizard: the machine, the questions, where to write, self-test and launch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...training.common.errors import UserError
from ...training.common.plan_file import LaunchPlan
from ..hardware import show
from ..hardware.record import Hardware
from ..hardware.show import size
from ..plan.table import text_of
from .actions import WizardActions
from .answers import Answers, given_answers
from .destination import Destination, default_path, destination_question, holds_something_else
from .dialogue import INTRODUCTION, Back, Dialogue, EndOfInput, Quit
from .questions import next_question
from .remarks import remarks
from .script import script_exists, script_name
from .state import WizardState, make_state, new_warnings, without_flag

_NO_SCRIPT = "{}: no such file from this folder, so nothing can be launched from here"
History = list[tuple[str, WizardState]]  # the questions asked, each with the state before its answer


def converse(actions: WizardActions, hardware: Hardware, answers: Answers) -> int:
    """Ask what is worth asking and not answered yet, then write, test and launch as wanted; return the exit code.

    Raises `UserError` for given answers that cannot work and where the input ends early, `Quit` where the person leaves
    before anything was written.
    """
    state = make_state(hardware, answers)
    _introduce(actions.dialogue, state)
    try:
        state, path = _ask_all(actions, state)
    except EndOfInput:
        actions.dialogue.say()
        raise UserError(f"the input ended before the last question: {actions.outcome}") from None
    actions.print_command(state.plan, state.answers, path)
    return _offer_actions(actions, state.answers)


def machine_lines(hardware: Hardware) -> Iterator[str]:
    """Yield two to four lines with what a person should know of a machine before the first question."""
    cpu, memory = hardware.cpu, hardware.memory
    yield (
        f"{hardware.hostname or 'This machine'}: {cpu.model}, {cpu.usable_cpus:g} usable CPUs (limited by "
        f"{cpu.limited_by}), {size(min(memory.available_bytes, memory.usable_bytes))} of memory free"
    )
    devices = [
        one.name if one.unified_memory else f"{one.name} ({size(one.memory_total_bytes)})"
        for one in hardware.accelerators
    ]
    counted = ", ".join(f"{devices.count(name)} x {name}" for name in dict.fromkeys(devices))
    hidden = "" if hardware.environment.visible or not devices else "; the environment hides them"
    yield f"accelerators: {counted or 'none'}{hidden}"
    torch = hardware.torch
    yield f"torch: {torch.version or 'not installed'}{f' for {torch.kind}' if torch.kind else ''}"
    slurm = hardware.scheduler.slurm
    if slurm:
        yield f"SLURM: {slurm.place} of job {slurm.job_id}, {slurm.node_count or 1} nodes"


def _introduce(dialogue: Dialogue, state: WizardState) -> None:
    for line in machine_lines(state.hardware):
        dialogue.say(line)
    for warning in state.plan.warnings:
        dialogue.warn(warning)
    for warning in show.warnings(state.hardware):
        if not any(warning in other for other in state.plan.warnings):
            dialogue.warn(warning)
    for remark in remarks(state):
        dialogue.warn(remark, "note")
    fixed = given_answers(state.answers)
    if fixed:
        dialogue.say(f"fixed by you: {', '.join(f'{name} {text_of(value)}' for name, value in fixed.items())}")
    dialogue.say(INTRODUCTION)


def _ask_all(actions: WizardActions, state: WizardState) -> tuple[WizardState, Path | None]:
    """Ask every question; return the state after the last one, and the file that was written, or None."""
    answered_names = tuple(given_answers(state.answers))
    history: History = []
    while True:
        question = next_question(state, (*answered_names, *(name for name, _ in history)))
        try:
            if question is None:
                actions.show(state.plan)
                destination = _ask_and_write(actions, state, first=not history)
                return _with_destination(state, destination), destination.path
            options = question.options(state)
            after = actions.dialogue.ask(
                question, options, partial(state.with_answer, question.name), first=not history
            )
        except Back:
            _, state = history.pop()
            continue
        _print_changes(actions, state, after)
        if question.name == "script" and not _can_launch(actions, after.answers):
            actions.dialogue.warn(_NO_SCRIPT.format(script_name(after.answers)), "note")
        history.append((question.name, state))
        state = after


def _print_changes(actions: WizardActions, before: WizardState, after: WizardState) -> None:
    """Print the warnings and notes that the last answer brought."""
    for warning in new_warnings(before, after):
        actions.dialogue.warn(without_flag(warning))
    known = set(remarks(before))
    for remark in remarks(after):
        if remark not in known:
            actions.dialogue.warn(remark, "note")


def _can_launch(actions: WizardActions, answers: Answers) -> bool:
    return actions.for_another_machine or script_exists(answers)


def _ask_and_write(actions: WizardActions, state: WizardState, first: bool) -> Destination:
    """Ask where to write, and write the config; where that fails, print why and ask again."""
    plan, answers = state.plan, state.answers
    path = Path(answers.out or default_path(plan))
    if answers.write is False:
        return Destination(path=None)
    agreed = answers.write is True and not holds_something_else(path, plan)
    while True:
        destination = Destination(path=path)
        if not agreed:
            question, options = destination_question(path, plan)
            destination = actions.dialogue.ask(question, options, partial(_check_readable, plan), first)
        agreed = False
        if destination.path is None:
            return destination
        path = destination.path
        if holds_something_else(path, plan) and not destination.overwrite:
            continue
        try:
            actions.write(path, plan)
        except UserError as error:
            actions.dialogue.warn(str(error), "not possible")
        else:
            return destination


def _check_readable(plan: LaunchPlan, destination: Destination) -> Destination:
    """Return the destination. Raises `UserError` for a path that cannot be read, such as a folder."""
    if destination.path:
        holds_something_else(destination.path, plan)
    return destination


def _with_destination(state: WizardState, destination: Destination) -> WizardState:
    path = destination.path
    out = None if path is None or path == default_path(state.plan) else str(path)
    return replace(state, answers=replace(state.answers, out=out, write=path is not None))


def _offer_actions(actions: WizardActions, answers: Answers) -> int:
    """Offer the self-test and the launch; return the exit code. The end of the input means no."""
    code, script = 0, script_name(answers)
    try:
        if not actions.for_another_machine:
            answers = _confirm_unless_answered(
                actions,
                answers,
                "self_test",
                "Run the self-test",
                default=True,
                explanation="`slipway doctor` checks what would keep this plan from running; it takes seconds.",
            )
            code = actions.test(answers) if answers.self_test else 0
            if not _can_launch(actions, answers):
                actions.dialogue.warn(_NO_SCRIPT.format(script), "note")
                answers = replace(answers, launch=False)
            elif code and answers.launch:
                answers = replace(answers, launch=None)  # ask again, now that the self-test failed
            failed = "The self-test failed. " if code else ""
            explanation = "`slipway launch` starts the script as planned and supervises it until it ends."
            answers = _confirm_unless_answered(
                actions, answers, "launch", f"{failed}Launch {script} now", default=False, explanation=explanation
            )
    except (Quit, EndOfInput):
        actions.dialogue.say()
        answers = replace(answers, launch=False)
    actions.save(answers)
    return actions.launch(answers) if answers.launch else code


def _confirm_unless_answered(
    actions: WizardActions, answers: Answers, name: str, prompt: str, default: bool, explanation: str
) -> Answers:
    """Return the answers with a yes or no for `name`: the given one, else the reply."""
    if getattr(answers, name) is not None:
        return answers
    reply = actions.dialogue.confirm(prompt, default, explanation)
    return replace(answers, self_test=reply) if name == "self_test" else replace(answers, launch=reply)

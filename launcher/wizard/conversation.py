"""The wizard's conversation: what was detected, question after question, where to write, what to do then."""

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
from .answers import Answers, given
from .destination import Destination, ask_where, default_path, in_the_way
from .dialogue import INTRODUCTION, Back, Dialogue, EndOfInput, Quit
from .questions import next_question
from .remarks import remarks
from .script import is_there, script_name
from .situation import WizardState, new_warnings, situation, without_flag

_NO_SCRIPT = "{}: no such file from this folder, so nothing can be launched from here"
History = list[tuple[str, WizardState]]  # questions that were answered, each with the situation it was asked from


def converse(run: WizardActions, hardware: Hardware, settled: Answers) -> int:
    """Ask what is worth asking and not settled, then write, test and launch as the person says; return the exit code.

    Raises `UserError` for settled answers that cannot work, and where the input ends early; `Quit` where the person
    leaves before anything was written.
    """
    now = situation(hardware, settled)
    _introduce(run.dialogue, now)
    try:
        now, path = _agree(run, now)
    except EndOfInput:
        run.dialogue.say()
        raise UserError(f"the input ended before the last question: {run.outcome}") from None
    run.print_command(now.plan, now.answers, path)
    return _afterwards(run, now.answers)


def machine_lines(hardware: Hardware) -> Iterator[str]:
    """Yield what a person should know of a machine before the first question, in two to four lines."""
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


def _introduce(dialogue: Dialogue, now: WizardState) -> None:
    for line in machine_lines(now.hardware):
        dialogue.say(line)
    for warning in now.plan.warnings:
        dialogue.warn(warning)
    for warning in show.warnings(now.hardware):
        if not any(warning in said for said in now.plan.warnings):
            dialogue.warn(warning)
    for remark in remarks(now):
        dialogue.warn(remark, "note")
    settled = given(now.answers)
    if settled:
        dialogue.say(f"fixed by you: {', '.join(f'{name} {text_of(value)}' for name, value in settled.items())}")
    dialogue.say(INTRODUCTION)


def _agree(run: WizardActions, now: WizardState) -> tuple[WizardState, Path | None]:
    """Return the situation after the last question, and the file that was written, if any."""
    settled = tuple(given(now.answers))
    history: History = []
    while True:
        question = next_question(now, (*settled, *(name for name, _ in history)))
        try:
            if question is None:
                run.show(now.plan)
                destination = _write(run, now, first=not history)
                return _with_destination(now, destination), destination.path
            options = question.options(now)
            after = run.dialogue.ask(question, options, partial(now.asked, question.name), first=not history)
        except Back:
            _, now = history.pop()
            continue
        _print_changes(run, now, after)
        if question.name == "script" and not _can_launch(run, after.answers):
            run.dialogue.warn(_NO_SCRIPT.format(script_name(after.answers)), "note")
        history.append((question.name, now))
        now = after


def _print_changes(run: WizardActions, before: WizardState, after: WizardState) -> None:
    """Say what works badly, or is good to know, since the last answer."""
    for warning in new_warnings(before, after):
        run.dialogue.warn(without_flag(warning))
    known = set(remarks(before))
    for remark in remarks(after):
        if remark not in known:
            run.dialogue.warn(remark, "note")


def _can_launch(run: WizardActions, answers: Answers) -> bool:
    return run.elsewhere or is_there(answers)


def _write(run: WizardActions, now: WizardState, first: bool) -> Destination:
    """Ask where to write, and write; what cannot be written is said and asked again."""
    plan, answers = now.plan, now.answers
    path = Path(answers.out or default_path(plan))
    if answers.write is False:
        return Destination(path=None)
    agreed = answers.write is True and not in_the_way(path, plan)
    while True:
        destination = Destination(path=path)
        if not agreed:
            question, options = ask_where(path, plan)
            destination = run.dialogue.ask(question, options, partial(_writable, plan), first)
        agreed = False
        if destination.path is None:
            return destination
        path = destination.path
        if in_the_way(path, plan) and not destination.overwrite:
            continue
        try:
            run.write(path, plan)
        except UserError as error:
            run.dialogue.warn(str(error), "not possible")
        else:
            return destination


def _writable(plan: LaunchPlan, destination: Destination) -> Destination:
    """Return the destination; raises `UserError` for a path that cannot be looked at, such as a folder."""
    if destination.path:
        in_the_way(destination.path, plan)
    return destination


def _with_destination(now: WizardState, destination: Destination) -> WizardState:
    path = destination.path
    out = None if path is None or path == default_path(now.plan) else str(path)
    return replace(now, answers=replace(now.answers, out=out, write=path is not None))


def _afterwards(run: WizardActions, answers: Answers) -> int:
    """Offer the self-test and the launch; return the exit code. The end of the input is a no."""
    code, script = 0, script_name(answers)
    try:
        if not run.elsewhere:
            answers = _settle(
                run,
                answers,
                "self_test",
                "Run the self-test",
                default=True,
                more="`slipway doctor` checks what would keep this plan from running; it takes seconds.",
            )
            code = run.test(answers) if answers.self_test else 0
            if not _can_launch(run, answers):
                run.dialogue.warn(_NO_SCRIPT.format(script), "note")
                answers = replace(answers, launch=False)
            elif code and answers.launch:
                answers = replace(answers, launch=None)  # agreed to before anybody knew
            failed = "The self-test failed. " if code else ""
            more = "`slipway launch` starts the script as planned and stays with it until it ends."
            answers = _settle(run, answers, "launch", f"{failed}Launch {script} now", default=False, more=more)
    except (Quit, EndOfInput):
        run.dialogue.say()
        answers = replace(answers, launch=False)
    run.save(answers)
    return run.launch(answers) if answers.launch else code


def _settle(run: WizardActions, answers: Answers, name: str, prompt: str, default: bool, more: str) -> Answers:
    """Return the answers with a yes or no that was settled before or is asked now."""
    if getattr(answers, name) is not None:
        return answers
    said = run.dialogue.confirm(prompt, default, more)
    return replace(answers, self_test=said) if name == "self_test" else replace(answers, launch=said)

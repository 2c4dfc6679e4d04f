"""The conversation: the plan in six lines, the changes that a person wants, by their numbers, then what to do with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from ...training.common.errors import UserError, nearest
from ..hardware import show
from .dialogue import Dialogue, InputEndedError
from .ending import Ending
from .model import ASK_SECONDS, ask_model
from .questions import AUTOMATIC, COUNT, QUESTIONS, Answer, Choice, Question
from .remarks import remarks
from .screen import NAMES, machine_words, plan_lines, unknown_words
from .script import names_task, script_name, training_arguments
from .state import WizardState, default_state, make_state, new_warnings, reason_of, without_flag
from .terms import explain

_FIRST = "Enter takes all of it, 1 to 6 changes a line, ? explains:"
_HELP = (
    "A number and a value change a line at once: `5 bf16`, `4 70B`, `2 0,2`. A number alone asks; there, Enter keeps what is "
    "planned, `auto` takes an answer back, `back` leaves the line. Here, `back` undoes the last change, `plan` shows all "
    "again and `q` leaves. `? 3` explains the words of line 3, `? fsdp` one."
)
_MACHINES = NAMES.index("machines") + 1
_NAME_WIDTH = max(map(len, NAMES))
_WORDS = ("?", "back", "plan", "quit", *NAMES)


class Back(Exception):  # noqa: N818
    """The reply `back` to a question: leave the line as it was."""


class Conversation:
    """One call of the wizard with a person, or with what a pipe says for one."""

    def __init__(self, dialogue: Dialogue, state: WizardState, ending: Ending) -> None:
        self._dialogue, self._state, self._ending = dialogue, state, ending
        self._history: list[WizardState] = []

    def run(self) -> int:
        """Show the plan, change what is wanted, and do what is asked with it; return the exit code.

        Raises `UserError` where the input ends early, `Quit` where the person leaves.
        """
        if names_task(self._state.script):
            self._state = self._counted(self._state)
        self._show_all()
        while True:
            reply = self._dialogue.reply(_FIRST)
            if not reply and self._state.is_meeting_place_known:
                break
            if reply:
                self._obey(reply)
            else:
                self._change_line(_MACHINES, "", only_open=True)
        self._show_differences()
        return self._ending.ask(self._state)

    def _obey(self, reply: str) -> None:
        word, _, value = reply.partition(" ")
        if reply.startswith("?") or word.lower() == "help":
            self._try(reply, lambda: self._explain(reply.lstrip("?") if reply[0] == "?" else value))
        elif reply.lower() in ("back", "undo"):
            self._undo()
        elif reply.lower() in ("plan", "p"):
            self._show_all()
        else:
            self._try(reply, lambda: self._change_line(_line_number(word), value.strip()))

    def _try(self, reply: str, act: Callable[[], object]) -> None:
        try:
            act()
        except InputEndedError:
            raise
        except UserError as error:
            self._dialogue.refuse(reply, error, reason_of(error))

    def _explain(self, word: str) -> None:
        if not word.strip():
            self._dialogue.say(_HELP)
        for term in explain(word):
            self._dialogue.item(str(term.line), term.word, f"{term.meaning}. Example: {term.example}.")

    def _undo(self) -> None:
        if not self._history:
            self._dialogue.say("Nothing was changed yet.")
            return
        before, self._state = self._state, self._history.pop()
        self._show_changes(before)

    # What is shown

    def _show_all(self) -> None:
        state, dialogue = self._state, self._dialogue
        dialogue.say(machine_words(state))
        warnings = [without_flag(one) for one in state.plan.warnings]
        warnings += [
            one for one in show.warnings(state.machine.hardware) if not any(one in other for other in warnings)
        ]
        for warning in warnings:
            dialogue.warn(warning)
        for remark in remarks(state):
            dialogue.warn(remark, "note")
        dialogue.say()
        dialogue.say("The plan. Nothing is written yet.", "bold")
        for line in plan_lines(state):
            dialogue.item(str(line.number), line.name, line.text, line.costs, name_width=_NAME_WIDTH)
        for words in unknown_words(state):
            dialogue.item("", "", words)
        dialogue.say()

    def _show_changes(self, before: WizardState) -> None:
        """Print the lines that a change has altered, and the warnings and notes that it brought."""
        state, dialogue = self._state, self._dialogue
        for old, new in zip(plan_lines(before), plan_lines(state), strict=True):
            if old != new:
                dialogue.item(str(new.number), new.name, new.text, new.costs, name_width=_NAME_WIDTH)
        for warning in new_warnings(before, state):
            dialogue.warn(warning)
        known = set(remarks(before))
        for remark in remarks(state):
            if remark not in known:
                dialogue.warn(remark, "note")

    def _show_differences(self) -> None:
        """Print the lines that differ from the plan of this machine with nothing fixed."""
        lines, defaults = plan_lines(self._state), plan_lines(default_state(self._state))
        different = [(line, usual) for line, usual in zip(lines, defaults, strict=True) if line.text != usual.text]
        if not different:
            self._dialogue.say("Everything is as planned for this machine.")
            return
        self._dialogue.say("What differs from the plan of the machine alone:")
        for line, usual in different:
            self._dialogue.item(
                str(line.number), line.name, f"{line.text} (else: {usual.text})", name_width=_NAME_WIDTH
            )

    # What is changed

    def _change_line(self, number: int, value: str, *, only_open: bool = False) -> None:
        """Change a line of the plan: by a value that was typed behind its number, else by its questions, or its open ones."""
        before = state = self._state
        questions = [one for one in QUESTIONS if one.line == number]
        if value.startswith("?"):
            self._explain(str(number))
            return
        try:
            if value:
                state = self._read_any(state, questions, value)
            for question in questions:
                if question.is_asked(state) and (question.is_open(state) or not (value or only_open)):
                    state = self._ask(question, state)
        except Back:
            self._dialogue.say("Left as it was.")
            return
        self._state = state
        if plan_lines(before) == plan_lines(state):
            self._dialogue.say("Nothing changes.")
        else:
            self._history.append(before)
            self._show_changes(before)

    def _read_any(self, state: WizardState, questions: Sequence[Question], value: str) -> WizardState:
        """Return the state with a value for the first question of a line that takes it."""
        problem: UserError | None = None
        for question in questions:
            if not (question.says_why or question.is_asked(state)):
                continue
            try:
                return self._apply(state, question, _answer_of(question, state, value, has_numbers=False))
            except UserError as error:
                # A value that has the right form and cannot be says more than one that is of another question.
                if problem is None or (" is n" in str(problem) and " is n" not in str(error)):
                    problem = error
        assert problem is not None, "every line has a question"
        raise problem

    def _ask(self, question: Question, state: WizardState) -> WizardState:
        """Return the state with the answer to a question; `Back` leaves the line."""
        choices = question.choices(state)
        self._show_question(question, state, choices)
        prompt = _prompt(question, state, choices)
        while True:
            reply = self._dialogue.reply(prompt)
            try:
                if reply.startswith("?"):
                    self._explain(reply.lstrip("?").strip() or str(question.line))
                elif reply.lower() == "back":
                    raise Back
                elif reply in ("-", "why") and any(one.problem for one in choices):
                    for one in choices:
                        if one.problem:
                            self._dialogue.item("", one.label, f"not possible: {one.problem}")
                elif reply:
                    return self._apply(
                        state, question, _answer_of(question, state, reply, has_numbers=question.has_numbers)
                    )
                elif question.is_open(state):
                    raise UserError("nothing is planned here; type a value, or `back`")
                else:
                    return state
            except UserError as error:
                self._dialogue.refuse(reply, error, reason_of(error))

    def _show_question(self, question: Question, state: WizardState, choices: Sequence[Choice]) -> None:
        now = question.now(state).lower()
        possible = [one for one in choices if not one.problem]
        costs_of_first = possible[0].costs if possible else ()
        common = [cost for cost in costs_of_first if all(cost in one.costs for one in possible)]
        each = f" (all: {'; '.join(common)})" if common else ""
        self._dialogue.say(f"{question.title}{each}", "bold")
        width = max((len(one.label) for one in possible), default=0)
        for number, one in enumerate(possible, 1):
            mark = " (as planned)" if one.label == now else ""
            key = str(number) if question.has_numbers else ""
            costs = "; ".join(cost for cost in one.costs if cost not in common)
            self._dialogue.item(key, one.label, f"{one.meaning}{mark}", costs, name_width=width)
        if folded := [one.label for one in choices if one.problem]:
            self._dialogue.item("", "", f"not possible here: {', '.join(folded)}; - says why")

    def _apply(self, state: WizardState, question: Question, answer: Answer) -> WizardState:
        """Return the state with an answer. Raises `UserError` for one that cannot work."""
        if answer.note == COUNT:
            return self._counted(state)
        if question.line == 1 and answer.options is None:
            return self._with_script(state, answer)
        after = state.with_options(**(answer.options or {}))
        if answer.note:
            self._dialogue.warn(answer.note, "note")
        return after

    def _with_script(self, state: WizardState, answer: Answer) -> WizardState:
        options = dict(state.options)
        if options.get("parameters") is not None and options["parameters"] == state.needs.parameters:
            options["parameters"] = None  # counted of another model
        after = make_state(state.machine, options, state.config, answer.script)
        if answer.note:
            self._dialogue.warn(answer.note, "note")
        return self._counted(after) if names_task(after.script) else after

    def _counted(self, state: WizardState) -> WizardState:
        """Return the state with what the model of the script needs, and the number of its parameters unless it is fixed."""
        self._dialogue.say(
            f"Asking the model of {script_name(state.script)} what it needs (at most {ASK_SECONDS:g} s) ..."
        )
        earlier, needs = state.needs.parameters, ask_model(training_arguments(state.script))
        state = replace(state, needs=needs)
        if needs.parameters and state.intent.parameters in (None, earlier):
            return state.with_options(parameters=needs.parameters)
        return state


def _answer_of(question: Question, state: WizardState, reply: str, *, has_numbers: bool) -> Answer:
    """Return what a reply to a question means: `auto`, the number of a choice where they have one, or a value.

    Raises `UserError`.
    """
    if reply.lower() == AUTOMATIC:
        return Answer(options=dict.fromkeys(question.fields)) if question.fields else Answer()
    if has_numbers:
        possible = [one for one in question.choices(state) if not one.problem]
        if reply.isascii() and reply.isdecimal():
            if not 1 <= int(reply[:9]) <= len(possible):
                raise UserError(f"{reply!r} is no number of the {len(possible)} choices")
            return possible[int(reply) - 1].answer
    return question.read(state, reply)


def _prompt(question: Question, state: WizardState, choices: Sequence[Choice]) -> str:
    now = question.now(state)
    keeps = "" if question.is_open(state) else f"Enter keeps {now}; "
    if question.has_numbers:
        count = sum(not one.problem for one in choices)
        other = f"1 to {count} or a name" if count > 1 else "nothing else is possible"
        return f"{keeps}{other}:"
    if question.term == "process" and state.plan.device == "cuda":
        return f"{keeps}a number, or 0,2 to name GPUs:"
    return f"{keeps}type another:" if keeps else "Type it:"


def _line_number(word: str) -> int:
    """Return the line that a word names, by number or name. Raises `UserError`."""
    if re.fullmatch(f"[1-{len(NAMES)}]", word):
        return int(word)
    if word.lower() in NAMES:
        return NAMES.index(word.lower()) + 1
    raise UserError(f"{word!r} is none of 1 to {len(NAMES)}, ?, back, plan, q{nearest(word.lower(), _WORDS)}")

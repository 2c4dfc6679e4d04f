"""`slipway wizard`: plan in a conversation, write the config and, if wanted, run a self-test and launch."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ...training.common.errors import EXIT_INTERRUPTED, UserError
from ...training.common.parser import Parser, make_parser, parse
from ..hardware.detect import load_hardware
from ..plan.options import add_intent, intent_of
from ..plan.spellings import as_spelled_here

if TYPE_CHECKING:
    from .answers import Answers

_LEFT_EARLY = 1
_ACTIONS = {
    "out": "the file to write [accelerate_configs/<name>.yaml]",
    "script": "the script to start, with its arguments in one text [Slipway's own training]",
    "write": "write the config",
    "self_test": "run the self-test (slipway doctor) after it",
    "launch": "launch the script after it",
}


def main(arguments: list[str]) -> int:
    """Plan in a conversation, or from answers; write the config; test and launch where wanted.

    Return 0, 1 for `quit` before anything was written, 3 for a self-test that failed, 130 for Ctrl-C, or the exit code
    of the launch. Raises `UserError` for answers that cannot work, and without a terminal to ask in.
    """
    parser = build_parser()
    options = parse(parser, as_spelled_here(parser, arguments))
    answers = _given_answers(options)
    unattended = bool(options.answers or options.yes)

    from .dialogue import Dialogue, Quit

    if not unattended:
        Dialogue.check_terminal()
    if options.hardware and (answers.self_test or answers.launch):
        raise UserError("slipway wizard: --hardware plans for another machine: leave out the self-test and the launch")
    from .actions import WizardActions
    from .conversation import converse
    from .script import script_words

    script_words(answers)  # an error is raised now, not after the last question
    dialogue = Dialogue()
    actions = WizardActions(
        dialogue=dialogue,
        for_another_machine=bool(options.hardware),
        overwrite=options.yes,
        answers_from=options.answers,
        save_to=options.save_answers,
    )
    try:
        hardware = load_hardware(options.hardware)
        return actions.run_answers(hardware, answers) if unattended else converse(actions, hardware, answers)
    except Quit:
        dialogue.say(f"left: {actions.outcome}")
        return _LEFT_EARLY
    except KeyboardInterrupt:
        dialogue.say(f"\nstopped: {actions.outcome}")
        return EXIT_INTERRUPTED


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "wizard", "Plan in a conversation, write an Accelerate config, and launch. A flag answers its question."
    )
    parser.add_argument("--hardware", metavar="FILE", help="plan for the machine recorded in FILE instead of this one")
    parser.add_argument(
        "--yes", action="store_true", help="ask nothing: take every recommendation, and overwrite the file"
    )
    parser.add_argument("--answers", metavar="FILE", help="ask nothing: take the answers from a YAML file")
    parser.add_argument("--save-answers", metavar="FILE", help="write the answers to FILE, for --answers")
    for name, text in _ACTIONS.items():
        flag = f"--{name.replace('_', '-')}"
        if name in ("out", "script"):
            parser.add_argument(flag, metavar=name.upper(), help=text)
        else:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
    add_intent(parser)
    return parser


def _given_answers(options: argparse.Namespace) -> Answers:
    """Return the given answers: those of flags win over those of the answers file, which win over settings files."""
    from .answers import Answers, read_answers

    if options.answers:
        for name, value in read_answers(options.answers).items():
            if getattr(options, name) is None:
                setattr(options, name, value)
    return Answers(intent=intent_of(options), **{name: getattr(options, name) for name in _ACTIONS})

"""`slipway wizard`: plan in a conversation, write the config, and train if wanted."""

from __future__ import annotations

import argparse
import os
import shlex

from ...training.common.errors import EXIT_INTERRUPTED, UserError
from ...training.common.parser import Parser, make_parser, parse
from ..common.paths import train_script
from ..plan.options import add_intent, add_machine, hardware_of, intent_of, machine_words
from ..plan.settings import intent_types
from ..plan.spellings import as_spelled_here

_LEFT_EARLY = 1


def main(arguments: list[str]) -> int:
    """Plan in a conversation, write the config, train where wanted.

    Return 0, 1 for `q` before anything was written, 130 for Ctrl-C, or the exit code of the training. Raises `UserError` for
    answers that cannot work, and where the input ends before the last of them.
    """
    parser = build_parser()
    options = parse(parser, as_spelled_here(parser, arguments))

    from .dialogue import Dialogue, Quit

    if not options.yes:
        Dialogue.check_streams()
    from .conversation import Conversation
    from .ending import Ending
    from .state import Machine, make_state

    script = _script_of(options)
    intent_of(options)  # says what becomes of the keys of an Accelerate config
    ending = Ending(dialogue=(dialogue := Dialogue()), out=options.out, overwrites=options.yes)
    try:
        machine = Machine(hardware=hardware_of(options), options=machine_words(options))
        given = {name: getattr(options, name) for name in intent_types()}
        state = make_state(machine, given, options.config, script)
        if options.yes:
            if not state.is_meeting_place_known:
                raise UserError(
                    f"{state.plan.num_machines} machines: nothing says where they meet; give --main-process-ip HOST"
                )
            ending.write(state, ending.path_of(state.plan))
            return 0
        return Conversation(dialogue, state, ending).run()
    except Quit:
        dialogue.say(f"left: {ending.outcome}")
        return _LEFT_EARLY
    except KeyboardInterrupt:
        dialogue.say(f"\nstopped: {ending.outcome}")
        return EXIT_INTERRUPTED


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser("wizard", "Plan in a conversation, write an Accelerate config, and train if wanted.")
    add_machine(parser)
    parser.add_argument("--yes", action="store_true", help="ask nothing: take all of the plan, and overwrite the file")
    parser.add_argument("--out", metavar="FILE", help="the file to write [accelerate_configs/<name>.yaml]")
    parser.add_argument(
        "--script",
        metavar="SCRIPT",
        help="the script to start, with its arguments in one text [Slipway's own training]",
    )
    parser.add_argument(
        "--task",
        metavar="TASK",
        help="the task of Slipway's own training, such as FILE.py:FUNCTION: its model is counted",
    )
    parser.add_argument("--data", metavar="PATH", help="the data of Slipway's own training")
    add_intent(parser)
    return parser


def _script_of(options: argparse.Namespace) -> str | None:
    """Return the script with its arguments; None for Slipway's own training with none. Raises `UserError`."""
    from .script import check_script, is_own_training

    if options.script is not None:
        check_script(options.script)
    words = [] if options.script is None else shlex.split(options.script)
    for name in ("task", "data"):
        if (value := getattr(options, name)) is not None:
            if not is_own_training(options.script):
                raise UserError(f"--{name}: of Slipway's own training only; write it among the arguments in --script")
            words = [*(words or [train_script()]), f"--{name}", os.fspath(value)]
    return shlex.join(words) if words else None

"""`slipway plan`: show how a training would be started on a machine, and why."""

from __future__ import annotations

import sys

from ...training.common.parser import Parser, make_parser, parse
from .options import add_intent, add_machine, hardware_of, intent_of
from .spellings import as_spelled_here


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser("plan", "Show how a training would be started on this machine, and why.")
    add_machine(parser)
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument("--explain", action="store_true", help="show every choice and where it came from")
    add_intent(parser)
    return parser


def main(arguments: list[str]) -> int:
    """Show the plan for a machine; return 0."""
    parser = build_parser()
    options = parse(parser, as_spelled_here(parser, arguments))

    from .make_plan import make_plan
    from .table import draw

    intent = intent_of(options)
    made = make_plan(hardware_of(options), intent)
    if options.json:
        print(made.to_json())
        return 0

    from rich.text import Text

    # A pipe has no width to fold to.
    from ...training.common.program.console import AnswerConsole

    console = AnswerConsole(highlight=False, width=None if sys.stdout.isatty() else 200)
    for part in draw(made, options.explain, intent.settings):
        console.print(part, soft_wrap=isinstance(part, Text))  # a warning may hold a command to paste
    return 0

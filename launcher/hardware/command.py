"""`slipway detect`: show what this machine has and what limits it."""

from __future__ import annotations

import sys

from ...training.common.parser import Parser, make_parser, parse
from .described import described
from .detect import load_hardware


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser("detect", "Show this machine: what it has, what limits it, and what will go wrong.")
    parser.add_argument("--json", action="store_true", help="print the record as JSON, for --hardware")
    machine = parser.add_mutually_exclusive_group()
    machine.add_argument("--hardware", metavar="FILE", help="show the machine recorded in FILE instead of this one")
    machine.add_argument("--machine", metavar="WORDS", help="show a machine in words: '4 x L40S, 64 cores, 512 GB'")
    return parser


def main(arguments: list[str]) -> int:
    """Show a machine; return 0."""
    options = parse(build_parser(), arguments)
    hardware = load_hardware(options.hardware) if options.machine is None else described(options.machine)
    if options.json:
        print(hardware.to_json())
        return 0

    from ...training.common.program.console import AnswerConsole
    from .show import draw

    console = AnswerConsole(soft_wrap=not sys.stdout.isatty(), highlight=False)
    for part in draw(hardware):
        console.print(part)
    return 0

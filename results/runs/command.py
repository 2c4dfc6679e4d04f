"""`slipway runs`: show the runs of a folder, sorted and chosen as asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.text import Text

from ...training.common.errors import UserError
from ...training.common.parser import Parser, make_parser, parse
from ...training.common.program.console import AnswerConsole
from ...training.common.program.streams import print_to_stderr
from .choose import check_key, chosen, in_order, read_condition
from .summary import RunSummary, read_summaries
from .table import columns_by_name, columns_of, draw, fitting, total_width

SCHEMA_VERSION = 1


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "runs",
        "Show the runs: state, stage, step, metrics, rate, batch, devices, duration, parent, newest checkpoint, age.",
        "[options] [NAME ...]",
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="only runs of these names; * stands for any letters")
    parser.add_argument("--runs-dir", default="runs", metavar="DIR", help="the folder of the runs [runs]")
    parser.add_argument(
        "--sort",
        metavar="KEY",
        help="the lowest first, or by -KEY the highest: accuracy, -started, duration, learning_rate [age]",
    )
    parser.add_argument(
        "--where",
        metavar="CONDITION",
        action="append",
        default=[],
        help="only runs for which it holds, such as 'accuracy>0.9' or state=finished; may be given several times",
    )
    parser.add_argument("--columns", metavar="KEY,KEY", help="these columns, instead of as many as the terminal takes")
    parser.add_argument("--json", action="store_true", help="print the runs as JSON")
    return parser


def main(arguments: list[str]) -> int:
    """Show the runs of a folder, the newest first unless sorted otherwise; return 0."""
    options = parse(build_parser(), _joined(arguments))
    folder = Path(options.runs_dir)
    if not folder.is_dir():
        raise UserError(f"--runs-dir {folder}: no such folder")
    conditions = [read_condition(text) for text in options.where]
    found, unreadable = read_summaries(folder)
    for path in unreadable:
        print_to_stderr(f"{path}: not the record of a run")
    keys = [key for key in (options.columns or "").split(",") if key.strip()]
    for key in keys:
        check_key(key, found, "--columns")
    shown = in_order(chosen(found, conditions, options.names), options.sort) if found else []
    if options.json:
        print(json.dumps({"schema_version": SCHEMA_VERSION, "runs": [vars(one) for one in shown]}, indent=2))
    elif shown:
        asked = [*([options.sort] if options.sort else []), *(condition.key for condition in conditions)]
        _print_table(shown, keys, asked)
    else:
        which = f"none of {len(found)} runs in {folder} is as asked" if found else f"no runs in {folder}"
        print_to_stderr(which)
    return 0


def _joined(arguments: list[str]) -> list[str]:
    """Return the arguments with `--sort -started` as one word: by itself the second would be an option."""
    words: list[str] = []
    for word in arguments:
        if words and words[-1] == "--sort" and word.startswith("-") and not word.startswith("--"):
            words[-1] = f"--sort={word}"
        else:
            words.append(word)
    return words


def _print_table(runs: list[RunSummary], keys: list[str], asked: list[str]) -> None:
    columns = columns_by_name(runs, keys) if keys else columns_of(runs, asked)
    is_screen = sys.stdout.isatty()
    console = AnswerConsole(highlight=False, width=None if is_screen else max(80, total_width(columns)))
    kept, left_out = (columns, []) if keys else fitting(columns, console.width)
    console.print(draw(kept))
    if left_out:
        names = ", ".join(column.name for column in left_out)
        console.print(Text(f"not at this width: {names} (--columns KEY,KEY chooses, --json has all)", style="dim"))

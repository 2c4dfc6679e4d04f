"""`slipway report`: make the page of a run, and the pictures and the table beside it."""

from __future__ import annotations

from pathlib import Path

from ...training.common.parser import Parser, make_parser, parse
from ...training.common.program.streams import print_to_stderr
from ..common.run_files import find_run
from .content import read_content
from .files import write_report


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "report",
        "Make report.html, results.png, confusion_matrix.png and results.csv in the folder of a run, running or finished.",
        "[options] RUN",
    )
    parser.add_argument("--runs-dir", default="runs", metavar="DIR", help="the folder of the runs [runs]")
    parser.add_argument("run", metavar="RUN", help="the folder of the run, or its name in the folder of the runs")
    return parser


def main(arguments: list[str]) -> int:
    """Make the report of a run and print the path of its page; return 0."""
    options = parse(build_parser(), arguments)
    page, remark = write_report(read_content(find_run(options.run, Path(options.runs_dir), "slipway report")))
    if remark:
        print_to_stderr(remark)
    print(page)
    return 0

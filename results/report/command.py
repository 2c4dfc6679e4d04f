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
        "[options] RUN ...",
    )
    parser.add_argument("--runs-dir", default="runs", metavar="DIR", help="the folder of the runs [runs]")
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="the folder of the run, or its name in the folder of the runs"
    )
    return parser


def main(arguments: list[str]) -> int:
    """Make the reports of runs and print the path of each page; return 0."""
    options = parse(build_parser(), arguments)
    remarks: dict[str, None] = {}
    for run in options.runs:
        page, remark = write_report(read_content(find_run(run, Path(options.runs_dir), "slipway report")))
        remarks |= {remark: None} if remark else {}
        print(page)
    for remark in remarks:
        print_to_stderr(remark)
    return 0

"""`slipway report`: make the page of a run, and the pictures and the table beside it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ...training.common.errors import UserError
from ...training.common.parser import Parser, make_parser, parse
from ...training.common.program.streams import print_to_stderr
from ...training.common.run_names import REPORT
from ...training.observers.own_command import command_words
from ..common.run_files import find_run, record_of
from .content import read_content
from .files import write_report


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "report",
        "Make report.html, results.png, confusion_matrix.png and results.csv in the folder of a run, running or finished. Of a "
        "study it makes report.html, on which its runs stand beside each other.",
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
        folder = find_run(run, Path(options.runs_dir), "slipway report")
        page, remark = _report_study(folder) if record_of(folder).get("study") else write_report(read_content(folder))
        remarks |= {remark: None} if remark else {}
        print(page)
    for remark in remarks:
        print_to_stderr(remark)
    return 0


def _report_study(folder: Path) -> tuple[Path, str]:
    """Have the runs of a study compared on its page; return the page's path. Raises `UserError` with what `compare` says."""
    page = folder / REPORT
    words = command_words("compare", "--page", str(page), "--", str(folder))
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise UserError(lines[-1].removeprefix("error: ") if lines else f"{folder}: exit code {done.returncode}")
    return page, ""

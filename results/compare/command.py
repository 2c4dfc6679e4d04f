"""`slipway compare`: runs beside each other, on the screen, as a page, or as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...training.common.errors import UserError
from ...training.common.parser import Parser, make_parser, parse
from ...training.common.program.console import AnswerConsole
from ..report.files import write_file
from .comparison import Comparison, compare
from .members import COMMAND, read_members
from .page import make_page
from .screen import show
from .words import TESTS

SCHEMA_VERSION = 1
PAGE = "compare.html"


def build_parser() -> Parser:
    """Return the parser of the command."""
    parser = make_parser(
        "compare",
        "Show runs beside each other: what differs in recipe, plan, data and code, their curves, and their metrics with "
        "intervals and a test. Runs that differ only in the seed, and the runs of a study, are taken together; the first "
        "recipe is what the others are compared with.",
        "[options] RUN RUN ...",
    )
    parser.add_argument("--runs-dir", default="runs", metavar="DIR", help="the folder of the runs [runs]")
    parser.add_argument(
        "--page", metavar="FILE", help=f"where the page is written [{PAGE} beside the folder of the first run]"
    )
    parser.add_argument("--no-page", action="store_true", help="write no page")
    parser.add_argument("--all-metrics", action="store_true", help="say what the tests find for every metric")
    parser.add_argument("--json", action="store_true", help="print one JSON object, and write a page only with --page")
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="the folder of a run or a study, or its name in the folder of the runs"
    )
    return parser


def main(arguments: list[str]) -> int:
    """Compare runs; return 0. Raises `UserError`."""
    options = parse(build_parser(), arguments)
    if options.page and options.no_page:
        raise UserError(f"{COMMAND}: --page and --no-page exclude each other; leave one of them out")
    members, remarks = read_members(options.runs, Path(options.runs_dir))
    found = compare(members, remarks)
    page = _page_of(found, options.page)
    writes = not options.no_page and (options.page is not None or not options.json)
    if writes:
        write_file(page, make_page(found, page).encode("utf-8", "backslashreplace"))
    if options.json:
        print(json.dumps(_as_json(found, page if writes else None), indent=2))
        return 0
    console = AnswerConsole(highlight=False)
    show(found, console, all_metrics=options.all_metrics)
    if writes:
        console.print(f"\npage: {page}", soft_wrap=True, markup=False)
    return 0


def _page_of(found: Comparison, asked: str | None) -> Path:
    """Return where the page goes. Raises `UserError` for a place that is none."""
    if asked is None:
        first = found.groups[0].members[0]
        folder = first.content.folder.parent
        return (folder.parent if first.study else folder) / PAGE
    path = Path(asked)
    if path.is_dir():
        raise UserError(f"--page {path}: a folder; give the name of a file, such as {path / PAGE}")
    if not path.parent.is_dir():
        raise UserError(f"--page {path}: no such folder {path.parent}; make it first, or give another file")
    return path


def _as_json(found: Comparison, page: Path | None) -> dict[str, Any]:
    """Return a comparison as plain values; what belongs to a group stands by its name."""
    names = [group.name for group in found.groups]
    return {
        "schema_version": SCHEMA_VERSION,
        "groups": [
            {
                "name": group.name,
                "unit": group.unit,
                "runs": [
                    {
                        "name": one.name,
                        "folder": str(one.content.folder),
                        "state": one.state,
                        "seed": one.seed,
                        "options": dict(one.options),
                        "metrics": one.metrics,
                    }
                    for one in group.members
                ],
            }
            for group in found.groups
        ],
        "differences": [
            {**asdict(one), "values": dict(zip(names, one.values, strict=True))} for one in found.differences
        ],
        "metrics": [
            {
                "name": metric.name,
                "groups": {
                    name: None if one is None else asdict(one)
                    for name, one in zip(names, metric.estimates, strict=True)
                },
            }
            for metric in found.metrics
        ],
        "tests": [{**asdict(one), "name": TESTS[one.kind][0], "source": TESTS[one.kind][1]} for one in found.tests],
        "remarks": list(found.remarks),
        "page": None if page is None else str(page),
    }

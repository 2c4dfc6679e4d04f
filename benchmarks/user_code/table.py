"""The tables of the documentation: the lines of each program, and what the programs reached."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.user_code.lines import Lines, lines_of
from benchmarks.user_code.programs import LIBRARIES, METRICS, ROOT, cases, program

PAGE = ROOT / "docs" / "own-models.md"
RESULT = ROOT / "benchmarks" / "results" / "user_code.json"


def all_lines() -> dict[str, dict[str, Lines]]:
    """Return the lines of each program by case and library."""
    names = [(case, library) for case in cases() for library in LIBRARIES]
    counted = lines_of([program(library, case) for case, library in names])
    found: dict[str, dict[str, Lines]] = {case: {} for case in cases()}
    for (case, library), lines in zip(names, counted, strict=True):
        found[case][library] = lines
    return found


def table_of_lines() -> str:
    """Return a table with a row for each case, in which the lowest number is bold, and one for all."""
    numbers = {_title(case): [lines.code for lines in by.values()] for case, by in all_lines().items()}
    numbers["all"] = [sum(column) for column in zip(*numbers.values(), strict=True)]
    return _table("lines of code", LIBRARIES.values(), {title: _marked(row) for title, row in numbers.items()})


def table_of_scores(record: dict[str, Any]) -> str:
    """Return a table of what the programs reached on 1 and on 2 processes when they were last run."""
    rows = {
        f"`{case}`, {METRICS.get(case, 'accuracy')}": [
            ", ".join(_shown(one[name]) for name in ("score_1_process", "score_2_processes")) for one in by.values()
        ]
        for case in cases()
        if (by := record["cases"].get(case))
    }
    return _table("case, metric", LIBRARIES.values(), rows)


def written(page: str) -> str:
    """Return the page with today's tables."""
    page = _with_part(page, "lines of code", table_of_lines())
    if not RESULT.exists():
        return page
    return _with_part(page, "scores", table_of_scores(json.loads(RESULT.read_text(encoding="utf-8"))))


def write_tables(path: Path = PAGE) -> None:
    """Put the tables into their page."""
    path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")


def _with_part(page: str, name: str, part: str) -> str:
    """Return the page with another text between the comments that name a part."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    before, rest = page.split(begin)
    return before + begin + part + end + rest.split(end)[1]


def _table(corner: str, columns: Iterable[str], rows: dict[str, list[str]]) -> str:
    head = [corner, *columns]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *([title, *row] for title, row in rows.items())]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _title(case: str) -> str:
    """Return what a program says of itself in its first line."""
    docstring = ast.get_docstring(ast.parse(program("slipway", case).read_text(encoding="utf-8"))) or ""
    return f"`{case}`: {docstring.split(chr(10))[0].rstrip('.')}"


def _shown(score: float | None) -> str:
    return "failed" if score is None else f"{score:.3f}"


def _marked(numbers: list[int]) -> list[str]:
    return [f"**{one}**" if one == min(numbers) else str(one) for one in numbers]

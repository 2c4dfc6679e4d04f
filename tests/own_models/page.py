"""The part of the documentation that says how near each program ends to the loop by hand, from the last complete run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.conftest import ROOT
from tests.own_models.cases import CASES

PAGE = ROOT / "docs" / "own-models.md"
RESULTS = ROOT / "benchmarks" / "results" / "own_models.json"
COLUMNS = {
    "1 process": (1, "untouched"),
    "killed, resumed": (1, "killed"),
    "2 processes": (2, "untouched"),
    "killed, resumed ": (2, "killed"),
}
_NAMES = {"macro_f1": "macro-F1", "mae": "MAE", "r2": "R2"}
_BEGIN, _END = "<!-- agreement: begin -->\n", "<!-- agreement: end -->\n"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table: for each case the difference of weights in each kind of run, and the largest of the metrics."""
    found = {(row["case"], row["processes"], row["run"]): row for row in rows}
    lines = [
        ["program", "what is measured", *COLUMNS, "metrics"],
        ["---", "---", *["---:"] * (len(COLUMNS) + 1)],
    ]
    for name, case in CASES.items():
        of_case = [found[name, *kind] for kind in COLUMNS.values()]
        options = f" `{' '.join(case.options)}`" if case.options else ""
        measured = ", ".join(_NAMES.get(one, one) for one in of_case[0]["measured"])
        numbers = [*(row["weights"] for row in of_case), max(row["metrics"] for row in of_case)]
        shown = [f"{number:.0e}" if number else "0" for number in numbers]
        lines.append([f"`{case.program_name}`{options}", measured, *shown])
    return "".join(f"| {' | '.join(word.strip() for word in line)} |\n" for line in lines)


def written(page: str, rows: Sequence[dict[str, Any]]) -> str:
    """Return the page with the table of these rows."""
    before, rest = page.split(_BEGIN)
    return before + _BEGIN + table(rows) + _END + rest.split(_END)[1]


def saved_rows() -> list[dict[str, Any]]:
    """Return what the last complete run found."""
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def save(rows: Sequence[dict[str, Any]]) -> None:
    """Keep what a complete run found, and write it into the page."""
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")

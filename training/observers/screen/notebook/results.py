"""The result of a run or a study as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...events import RunEnd, StudyEnd
from ..tables import NO_TEST, Grid, ResultTable, StudyTable
from . import markup


def result_html(result: Mapping[str, Any], folder: Path, *, synthetic: bool = False) -> str:
    """Return the tables of a result, as they stand on a terminal, and its folder."""
    if "runs" in result:
        table = StudyTable(StudyEnd(result=result, folder=folder))
        runs, means = table.grids()
        parts = [_html(runs), _html(means), markup.line(table.worst())]
    else:
        stages, test = ResultTable(RunEnd(result=result, folder=folder), synthetic).grids()
        parts = [_html(stages), _html(test) if test else markup.line(NO_TEST)]
    kind = "study" if "runs" in result else "run"
    return markup.page(*parts, markup.line(f"{kind} folder: {folder}", faint=True))


def _html(grid: Grid) -> str:
    return markup.table(grid.headings, grid.rows, grid.numbers)

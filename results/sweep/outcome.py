"""What a sweep has found, as a table on the screen and as a page that stands alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from ...training.common.program.shown import printable
from ...training.inspection.page.document import make_document
from ...training.inspection.page.tables import table
from ...training.observers.screen.tables import format_metric, plural
from ..report.curves import Chart, Series
from ..report.drawing import shown
from ..report.parts import figure, scroll, sections_of
from ..report.script import SCRIPT
from ..report.style import CSS, MORE_COLOURS
from .space import Dimension
from .trials import Row, best_of

_MOST_CURVES = 8


def table_of(rows: Sequence[Row], space: Sequence[Dimension], metric: str) -> Table:
    """Return the trials as a table, the best first."""
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    head, cells = _cells(rows, space, metric)
    for place, name in enumerate(head):
        is_number = place in (1, len(head) - 2)
        found.add_column(Text(name), justify="right" if is_number else "left", overflow="fold")
    for row in cells:
        found.add_row(*map(Text, row))
    return found


def make_page(
    name: str, rows: Sequence[Row], space: Sequence[Dimension], metric: str, command: str, *, more_is_better: bool
) -> str:
    """Return the page of a sweep as HTML: the curves of its best trials, its table, and the command of the best values."""
    sections = (
        ("curves", "Curves of the best trials", _curves(rows, space, metric)),
        ("values", "Metric by value", _by_value(rows, space, metric, more_is_better=more_is_better)),
        ("trials", "Trials", _trials(rows, space, metric)),
        ("again", "Train with the best values", [f"<pre>{shown(command)}</pre>"] if command else []),
    )
    links, bodies = sections_of(sections)
    best = best_of(rows)
    lead = "No trial is finished yet." if best is None else f"Best: {_sentence(best, space, metric)}."
    top = f'<p class="eyebrow">Sweep of {plural(len(rows), "trial")}</p><h1>{shown(name)}</h1>'
    body = f'<main><header>{top}<p class="lead">{shown(lead)}</p></header>{links}{bodies}</main>'
    return make_document(printable(name), CSS + MORE_COLOURS, body, SCRIPT)


def values_text(row: Row, space: Sequence[Dimension]) -> str:
    """Return what a trial tried: `learning_rate 0.002, dropout 0.1`."""
    return ", ".join(f"{one.name} {one.text(row.values[one.name])}" for one in space if one.name in row.values)


def _sentence(row: Row, space: Sequence[Dimension], metric: str) -> str:
    return (
        f"trial {row.number}, {metric} {format_metric(metric, row.metric)} of the validation, {values_text(row, space)}"
    )


def _cells(rows: Sequence[Row], space: Sequence[Dimension], metric: str) -> tuple[list[str], list[list[str]]]:
    head = ["trial", printable(metric.replace("_", " ")) or "metric", *(one.name for one in space), "epochs", "state"]
    cells = [
        [
            str(row.number),
            "" if row.metric is None else format_metric(metric, row.metric),
            *(one.text(row.values[one.name]) if one.name in row.values else "" for one in space),
            str(row.epochs),
            row.state,
        ]
        for row in rows
    ]
    return head, cells


def _curves(rows: Sequence[Row], space: Sequence[Dimension], metric: str) -> Iterator[str]:
    chosen = [row for row in rows if row.course][:_MOST_CURVES]
    if chosen:
        series = [
            Series(name=f"trial {row.number}", points=[(float(x), y) for x, y in row.course], is_marked=True)
            for row in chosen
        ]
        title = f"Validation: {metric.replace('_', ' ')}"
        yield f'<div class="charts">{figure(Chart(title=title, series=series, x_name="epoch"))}</div>'


def _by_value(rows: Sequence[Row], space: Sequence[Dimension], metric: str, *, more_is_better: bool) -> Iterator[str]:
    """Yield for each option with values to choose from the best that each value reached."""
    for one in space:
        if not one.choices:
            continue
        cells = []
        for choice in one.choices:
            found = [row.metric for row in rows if row.values.get(one.name) == choice and row.metric is not None]
            best = None if not found else max(found) if more_is_better else min(found)
            shown_best = "" if best is None else format_metric(metric, best)
            cells.append([shown(one.text(choice)), shown_best, str(len(found))])
        caption = f"{one.name}: the best of each value"
        yield scroll(caption, table(caption, (one.name, f"best {metric}", "trials"), cells, numbers=2))


def _trials(rows: Sequence[Row], space: Sequence[Dimension], metric: str) -> Iterator[str]:
    head, cells = _cells(rows, space, metric)
    listed = [[shown(cell) for cell in row] for row in cells]
    yield scroll("Trials", table("Trials", head, listed), is_wide=True)

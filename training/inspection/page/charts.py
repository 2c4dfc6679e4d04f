"""Tables with bars, and a histogram, as HTML: each can be read without seeing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from ..texts import count

_HEIGHT, _BAR, _GAP = 70, 18, 3


def bar_table(caption: str, head: tuple[str, str], rows: Sequence[tuple[str, str, float]]) -> str:
    """Return a table of names and numbers; `rows` are (name, number as text, share of the bar)."""
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="n">{escape(number)}</td>'
        f'<td class="bar" aria-hidden="true"><i style="width:{100 * min(1.0, share):.1f}%"></i></td></tr>'
        for name, number, share in rows
    )
    return (
        f'<table><caption class="unseen">{escape(caption)}</caption><thead><tr><th scope="col">{escape(head[0])}</th>'
        f'<th scope="col" class="n">{escape(head[1])}</th><td></td></tr></thead><tbody>{body}</tbody></table>'
    )


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """Return a table; the first column names the rows, and the `numbers` columns after it are numbers."""

    def kind(column: int) -> str:
        return ' class="n"' if 0 < column <= numbers else ""

    top = "".join(f'<th scope="col"{kind(column)}>{escape(cell)}</th>' for column, cell in enumerate(head))
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td{kind(column)}>{cell}</td>" for column, cell in enumerate(row[1:], 1))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><caption class="unseen">{escape(caption)}</caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def histogram(bins: Mapping[str, int]) -> str:
    """Return a histogram of clips by their frames as SVG."""
    most = max(bins.values())
    width = max(len(bins) * (_BAR + _GAP), 12 * _BAR)
    bars, names = [], list(bins)
    for position, number in enumerate(bins.values()):
        height = max(1.0, _HEIGHT * number / most) if number else 0
        bars.append(
            f'<rect x="{position * (_BAR + _GAP)}" y="{_HEIGHT - height + 12:.1f}" width="{_BAR}" height="{height:.1f}">'
            f"<title>{names[position]} frames: {count(number, 'clip')}</title></rect>"
        )
    step = -(-len(names) // 8)
    labels = "".join(
        f'<text x="{position * (_BAR + _GAP) + _BAR / 2:.0f}" y="{_HEIGHT + 26}" text-anchor="middle">{name}</text>'
        for position, name in enumerate(name.split("-")[0] for name in names)
        if position % step == 0
    )
    described = "; ".join(f"{name}: {number}" for name, number in bins.items() if number)
    return (
        f'<svg class="chart" viewBox="-10 0 {width + 20} {_HEIGHT + 30}" role="img" '
        f'aria-label="Clips by their number of frames. {escape(described)}">{"".join(bars)}'
        f'<path class="axis" d="M0 {_HEIGHT + 12.5}H{width}"/>{labels}</svg>'
    )

"""Tables as HTML, with bars too: each can be read without seeing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


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

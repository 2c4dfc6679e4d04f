"""Small HTML that takes its colours and fonts from the page around it, light or dark. All text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_LINE = "1px solid rgba(128,128,128,.35)"
_CELL = "padding:.15em .9em .15em 0;vertical-align:top;white-space:pre-line;background:none"
_FAINT = "opacity:.7"
_TRACK = "display:inline-block;width:14em;height:.6em;border-radius:.3em;background:rgba(128,128,128,.3)"
_BAR = "display:block;height:100%;border-radius:.3em;background:#2f81c7"
_WARNING = "border-left:.25em solid #d08700;padding-left:.6em;margin:.3em 0"


def page(*parts: str) -> str:
    """Return the parts below each other."""
    return f'<div style="font-size:.95em;line-height:1.45">{"".join(part for part in parts if part)}</div>'


def line(text: str, *, bold: str = "", faint: bool = False) -> str:
    """Return a line of text, after some in bold."""
    strong = f"<b>{escape(bold)}</b> " if bold else ""
    return f'<div style="{_FAINT if faint else ""}">{strong}{escape(text)}</div>'


def warning(text: str) -> str:
    """Return a line with a bar at its left."""
    return f'<div style="{_WARNING}"><b>warning:</b> {escape(text)}</div>'


def bar(label: str, share: float, text: str) -> str:
    """Return a bar, filled by a share from 0 to 1, between a label and a text."""
    filled = f'<span style="{_BAR};width:{100 * min(1.0, max(0.0, share)):.1f}%"></span>'
    name = f'<span style="display:inline-block;min-width:8em">{escape(label)}</span>'
    return f'<div>{name}<span style="{_TRACK}">{filled}</span> &ensp;{escape(text)}</div>'


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[bool]) -> str:
    """Return a table of texts; `numbers` says which columns stand at the right."""

    def row(tag: str, texts: Sequence[str], more: str) -> str:
        cells = (
            f'<{tag} style="{_CELL};text-align:{"right" if number else "left"};{more}">{escape(text)}</{tag}>'
            for text, number in zip(texts, numbers, strict=True)
        )
        return f'<tr style="background:none">{"".join(cells)}</tr>'

    head = row("th", headings, f"border-bottom:{_LINE};vertical-align:bottom")
    body = "".join(row("td", texts, "border:none") for texts in rows)
    return (
        '<table style="border-collapse:collapse;border:none;margin:.4em 0;font-variant-numeric:tabular-nums">'
        f"<thead>{head}</thead><tbody>{body}</tbody></table>"
    )


def folded(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Return rows of a label and a text that a click unfolds."""
    lines = "".join(
        f'<tr style="background:none"><td style="{_CELL};text-align:left;{_FAINT}">{escape(label)}</td>'
        f'<td style="{_CELL};text-align:left">{escape(text)}</td></tr>'
        for label, text in rows
    )
    return (
        f'<details><summary style="{_FAINT};cursor:pointer">{escape(title)}</summary>'
        f'<table style="border-collapse:collapse;border:none">{lines}</table></details>'
    )

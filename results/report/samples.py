"""A sample as a person sees it, of what a run kept of its worst: a picture, a text, curves, numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..common.values import items, text
from .drawing import format_number, short, shown

_LONGEST_TEXT, _LONGEST_VALUE = 400, 120
_MOST_CURVES, _MOST_VALUES = 4, 16
_PNG = re.compile(r"iVBORw0KGgo[A-Za-z0-9+/]{20,400000}={0,2}")
"""In base64, from the eight bytes on with which every one begins."""
_WIDTH, _HEIGHT = 160, 70
_LARGEST = 1e300


def is_seen(row: Mapping[str, Any]) -> bool:
    """Return whether anything of a sample was kept that a person sees."""
    return any(row.get(name) for name in ("text", "picture", "curves", "values"))


def draw_sample(row: Mapping[str, Any], place: str) -> Iterator[str]:
    """Yield what is seen of a sample as HTML; what is not as the task had to return it is left out."""
    if words := text(row, "text"):
        yield f"<blockquote>{shown(short(words, _LONGEST_TEXT))}</blockquote>"
    picture = text(row, "picture")
    if _PNG.fullmatch(picture):
        yield f'<img class="sample" src="data:image/png;base64,{picture}" alt="{shown(place)}">'
    curves = [
        (str(one[0]), numbers)
        for one in items(row, "curves")[:_MOST_CURVES]
        if isinstance(one, list) and len(one) == 2 and len(numbers := _numbers(one[1])) > 1
    ]
    if curves:
        yield _draw_curves(curves, place)
    values = [
        (shown(short(str(one[0]), _LONGEST_VALUE)), shown(short(str(one[1]), _LONGEST_VALUE)))
        for one in items(row, "values")[:_MOST_VALUES]
        if isinstance(one, list) and len(one) == 2 and not (one[0] == "target" and answer_of(row))
    ]
    if values:
        yield f'<dl class="values">{"".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in values)}</dl>'


def answer_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the model said and what was right, where these are no classes; empty if it was not kept."""
    said, right = (_numbers(items(row, name)) for name in ("output", "target"))
    if not said or not right:
        return ()
    return ", ".join(map(format_number, said)), ", ".join(map(format_number, right))


def _numbers(values: Any) -> list[float]:
    """Return finite numbers of a size that can be drawn; none where something is no such number."""
    if not isinstance(values, list) or not all(isinstance(one, (int, float)) and abs(one) < _LARGEST for one in values):
        return []
    return [float(one) for one in values]


def _draw_curves(curves: list[tuple[str, list[float]]], place: str) -> str:
    """Return curves over one another, from the least to the largest number of all."""
    low = min(min(numbers) for _, numbers in curves)
    high = max(max(numbers) for _, numbers in curves)
    spread = (high - low) or 1.0
    lines = []
    for number, (name, numbers) in enumerate(curves):
        points = " ".join(
            f"{_WIDTH * step / (len(numbers) - 1):.1f},{_HEIGHT * (1 - (value - low) / spread):.1f}"
            for step, value in enumerate(numbers)
        )
        lines.append(f'<polyline class="line s{number}" points="{points}"><title>{shown(name)}</title></polyline>')
    reach = f"{format_number(low)} to {format_number(high)}"
    label = shown(short(f"{', '.join(name for name, _ in curves)} of {place}, {reach}", _LONGEST_VALUE))
    return (
        f'<svg class="sample" viewBox="-2 -2 {_WIDTH + 4} {_HEIGHT + 4}" role="img" aria-label="{label}">{"".join(lines)}</svg>'
        f'<p class="soft">{reach}</p>'
    )

"""Draws curves and the confusion matrix as SVG, the same for the page and for the pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from html import escape

from ...training.common.program.shown import printable
from .classes import Confusion
from .curves import Chart, Point, Series

WIDTH, HEIGHT = 420, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 8, 20, 32
_INNER_WIDTH, _INNER_HEIGHT = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
_CHARACTER = 5.6
"""The usual width of a letter of the stages' names."""
MOST_CLASSES = 40
"""Of a confusion matrix that is drawn."""
_CELL, _CELL_OF_NUMBERS = 14, 20
_LONGEST_LABEL = 16

_X_NAMES = {"step": "optimizer step", "samples": "samples trained on", "epoch": "epoch"}

Stages = Sequence[tuple[float, str]]


def shown(text: str) -> str:
    """Return a text as it stands in HTML and SVG: nothing in it is markup, and nothing commands the reader's program."""
    return escape(printable(text).replace("\t", " "))


def short(text: str, most: int) -> str:
    """Return a text of at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def format_number(value: float) -> str:
    """Return a number in four digits: `0.9295`, `1,234`, `2.9e-05`."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.4g}"


class Frame:
    """The axes of a chart: from steps and values to places in the drawing."""

    def __init__(self, chart: Chart, stages: Stages) -> None:
        xs = [x for one in chart.series for x, _ in one.points]
        ys = [y for one in chart.series for _, y in one.points]
        ys += [y for one in chart.series for _, low, high in one.band for y in (low, high)]
        first = min([*(x for x, _ in stages), *xs]) if stages else min(xs)
        self.first, self.last = first, max(max(xs), first + 1)
        low, high = min(ys), max(ys)
        if chart.from_zero and low >= 0:
            low = 0.0
        if not high > low:
            spread = abs(high) / 2 or 1.0
            low, high = (0.0, high + spread) if chart.from_zero and low >= 0 else (low - spread, high + spread)
        self.ticks = _ticks(low, high)
        self.low, self.high = min(low, self.ticks[0]), max(high, self.ticks[-1])

    def x(self, step: float) -> float:
        """Return the place of a step from the left."""
        return _LEFT + _INNER_WIDTH * (step - self.first) / (self.last - self.first)

    def y(self, value: float) -> float:
        """Return the place of a value from the top."""
        return _TOP + _INNER_HEIGHT * (1 - (value - self.low) / (self.high - self.low))


def draw_chart(chart: Chart, stages: Stages) -> str:
    """Return the inside of the SVG of a chart, `WIDTH` x `HEIGHT`; `stages` are the first step and the name of each."""
    frame = Frame(chart, stages)
    curves = (_curve(frame, one, number) for number, one in enumerate(chart.series))
    return "".join((*_stages(frame, stages), *_axes(frame, _X_NAMES[chart.x_name]), *curves))


def plot_data(chart: Chart, stages: Stages) -> str:
    """Return as JSON what the page needs to answer to the pointer."""
    frame = Frame(chart, stages)
    return json.dumps(
        {
            "left": _LEFT / WIDTH,
            "right": (WIDTH - _RIGHT) / WIDTH,
            "name": chart.x_name,
            "first": frame.first,
            "last": frame.last,
            "stages": [[x, printable(name)] for x, name in stages],
            "series": [[printable(one.name), [[x, float(f"{y:.5g}")] for x, y in one.points]] for one in chart.series],
        },
        separators=(",", ":"),
    )


def _stages(frame: Frame, stages: Stages) -> Iterator[str]:
    if len(stages) < 2:
        return
    ends = [*(x for x, _ in stages[1:]), frame.last]
    for number, ((start, name), end) in enumerate(zip(stages, ends, strict=True)):
        left, right = frame.x(max(start, frame.first)), frame.x(min(max(end, start), frame.last))
        if number % 2:
            size = f'width="{max(0.0, right - left):.1f}" height="{_INNER_HEIGHT}"'
            yield f'<rect class="band" x="{left:.1f}" y="{_TOP}" {size}/>'
        label = next((one for one in (name, str(number + 1)) if _CHARACTER * len(one) < right - left), "")
        if label:
            yield f'<text x="{(left + right) / 2:.1f}" y="{_TOP - 6}" text-anchor="middle">{shown(label)}</text>'


def _axes(frame: Frame, name: str) -> Iterator[str]:
    for tick in frame.ticks:
        y = frame.y(tick)
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{format_number(tick)}</text>'
    yield f'<path class="axis" d="M{_LEFT} {_TOP + _INNER_HEIGHT}H{WIDTH - _RIGHT}"/>'
    for tick in _ticks(frame.first, frame.last):
        if frame.first <= tick <= frame.last and tick == round(tick):
            yield f'<text x="{frame.x(tick):.1f}" y="{HEIGHT - _BOTTOM + 15}" text-anchor="middle">{tick:,.0f}</text>'
    yield f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{name}</text>'


def _curve(frame: Frame, series: Series, number: int) -> str:
    parts = []
    if series.band:
        upper = [(x, high) for x, _, high in series.band]
        lower = [(x, low) for x, low, _ in reversed(series.band)]
        parts.append(f'<path class="area s{number}" d="{_line(frame, [*upper, *lower])}Z"/>')
    if len(series.points) > 1:
        parts.append(f'<path class="line s{number}" d="{_line(frame, series.points)}"/>')
    if series.is_marked or len(series.points) == 1:
        dots = "".join(f"M{frame.x(x):.1f} {frame.y(y):.1f}h0" for x, y in series.points)
        parts.append(f'<path class="dots s{number}" d="{dots}"/>')
    return "".join(parts)


def _line(frame: Frame, points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in points)


def _ticks(low: float, high: float) -> list[float]:
    """Return three to six round numbers that span a range."""
    raw = (high - low) / 4
    size = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next((size * factor for factor in (1, 2, 2.5, 5) if size * factor >= raw), size * 10)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)][:12]


def draw_confusion(confusion: Confusion) -> tuple[int, int, str]:
    """Return width, height and the inside of the SVG of a confusion matrix: a row for each right class.

    Of more than `MOST_CLASSES` classes those with the most mistakes are drawn.
    """
    chosen = confusion.worst_classes(MOST_CLASSES)
    place = {one: number for number, one in enumerate(chosen)}
    totals: dict[int, int] = {}
    for (right, _), count in confusion.counts.items():
        totals[right] = totals.get(right, 0) + count
    longest = max((len(printable(confusion.name(one))) for one in chosen), default=1)
    left = top = 24 + round(6.4 * min(longest, _LONGEST_LABEL))
    cell = max(_CELL, min(44, 300 // max(1, len(chosen))))
    side = cell * len(chosen)
    parts = [f'<rect class="ground" x="{left}" y="{top}" width="{side}" height="{side}"/>']
    for one, number in place.items():
        centre, name = number * cell + cell / 2, shown(short(printable(confusion.name(one)), _LONGEST_LABEL))
        parts.append(f'<text x="{left - 5}" y="{top + centre + 4:.1f}" text-anchor="end">{name}</text>')
        parts.append(f'<text transform="translate({left + centre + 4:.1f} {top - 5}) rotate(-90)">{name}</text>')
    for (right, said), count in sorted(confusion.counts.items()):
        if right in place and said in place and count:
            x, y = left + place[said] * cell, top + place[right] * cell
            opacity = 0.15 + 0.85 * count / totals[right]
            kind = "right" if right == said else "wrong"
            of = f"{count:,} of {totals[right]:,}"
            taken = "known" if right == said else f"taken for {short(confusion.name(said), 60)}"
            title = shown(f"{short(confusion.name(right), 60)} was {taken}: {of}")
            area = f'x="{x}" y="{y}" width="{cell}" height="{cell}" opacity="{opacity:.2f}"'
            parts.append(f'<rect class="{kind}" {area}><title>{title}</title></rect>')
            if cell >= _CELL_OF_NUMBERS:
                tone = "light" if opacity > 0.55 else "dark"
                middle = f'x="{x + cell / 2:.1f}" y="{y + cell / 2 + 4:.1f}" text-anchor="middle"'
                parts.append(f'<text class="{tone}" {middle}>{count}</text>')
    parts.append(f'<path class="axis" d="M{left} {top}V{top + side}H{left + side}V{top}Z"/>')
    parts.append(f'<text x="{left + side / 2:.1f}" y="12" text-anchor="middle">said by the model</text>')
    parts.append(
        f'<text transform="translate(11 {top + side / 2:.1f}) rotate(-90)" text-anchor="middle">right class</text>'
    )
    return left + side + 6, top + side + 6, "".join(parts)

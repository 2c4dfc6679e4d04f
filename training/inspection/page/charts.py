"""A histogram of clips by their frames, which can be read without seeing."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from ..texts import count

_HEIGHT, _BAR, _GAP = 70, 18, 3


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

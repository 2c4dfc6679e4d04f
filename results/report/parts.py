"""Parts of a page that shows runs: a chart that answers to the pointer and to keys, and a table that can be scrolled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from .curves import Chart
from .drawing import HEIGHT, WIDTH, Stages, draw_chart, format_number, plot_data, shown


def figure(chart: Chart, stages: Stages = ()) -> str:
    """Return a chart with its title, its keys, and its numbers at the end, which change where the reader points."""
    return "".join(_figure(chart, stages))


def _figure(chart: Chart, stages: Stages) -> Iterator[str]:
    line = '<svg class="plot" viewBox="0 0 26 11" aria-hidden="true"><path class="line s{}" d="M1 6H25"/></svg>'
    keys = "".join(
        f'<span class="key">{line.format(place)}{shown(one.name)}</span>' for place, one in enumerate(chart.series)
    )
    last = max(x for one in chart.series for x, _ in one.points)
    label = f"{chart.title} by {chart.x_name}; arrow keys move along it"
    yield f'<figure><figcaption>{shown(chart.title)}</figcaption><p class="keys">{keys}</p>'
    yield (
        f'<div class="plot" role="slider" tabindex="0" aria-label="{shown(label)}" aria-valuemin="0" '
        f'aria-valuemax="{last:.0f}" aria-valuenow="{last:.0f}" data-plot="{escape(plot_data(chart, stages))}">'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{draw_chart(chart, stages)}</svg>'
        '<div class="cursor" hidden></div></div>'
    )
    ends = "; ".join(f"{one.name} {format_number(one.points[-1][1])}" for one in chart.series)
    yield f"<output>{shown(f'at the end: {ends}')}</output></figure>"


def sections_of(sections: Iterable[tuple[str, str, Iterable[str]]]) -> tuple[str, str]:
    """Return the links to sections, and the sections, of each its name, its title and its parts; those without parts are not.

    A link has the title up to its colon.
    """
    made = [(name, title, body) for name, title, parts in sections if (body := "".join(parts))]
    links = "".join(f'<a href="#{name}">{escape(title.split(":")[0])}</a> ' for name, title, _ in made)
    bodies = "".join(f'<section><h2 id="{name}">{escape(title)}</h2>{body}</section>' for name, title, body in made)
    return f'<nav aria-label="Sections">{links}</nav>', bodies


def scroll(name: str, inside: str, *, is_wide: bool = False) -> str:
    """Return a table in a box of its own that can be scrolled by keys too."""
    kind = "wide scroll" if is_wide else "scroll"
    opened = f'<div class="{kind}" tabindex="0" role="region" aria-label="{escape(name)}">'
    return opened + inside.removeprefix('<div class="scroll">')

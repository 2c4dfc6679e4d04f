"""A comparison as a page of HTML that stands alone."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import quote

from ...training.common.program.shown import printable
from ...training.common.run_names import REPORT
from ...training.inspection.page.document import make_document
from ...training.inspection.page.tables import table
from ...training.observers.screen.tables import format_duration, format_metric, plural
from ..common.values import number, text
from ..report.drawing import short, shown
from ..report.parts import figure, scroll, sections_of
from ..report.script import SCRIPT
from ..report.style import CSS, MORE_COLOURS
from .comparison import Comparison
from .curves import MOST_GROUPS, charts_of
from .members import Member
from .words import (
    TESTS,
    format_difference,
    format_estimate,
    format_interval,
    format_p,
    name_of,
    notes_of,
    sentence_of,
    why_no_test,
)

_LONGEST_NAME, _LONGEST_VALUE = 80, 400
_MOST_DIFFERENCES = 500

Html = Iterator[str]


def make_page(comparison: Comparison, place: Path) -> str:
    """Return the page as HTML; it has links to the reports of runs that lie beside `place`, where it is written."""
    sections = (
        ("differences", "What differs", _differences(comparison)),
        ("metrics", "Metrics", _metrics(comparison)),
        ("tests", "More than chance?", _tests(comparison)),
        ("curves", "Curves", _curves(comparison)),
        ("runs", "Runs", _runs(comparison, place)),
    )
    links, bodies = sections_of(sections)
    body = f"<main>{''.join(_head(comparison))}{links}{bodies}</main>"
    return make_document(printable(_title(comparison)), CSS + MORE_COLOURS, body, SCRIPT)


def _title(comparison: Comparison) -> str:
    names = [short(group.name, _LONGEST_NAME) for group in comparison.groups]
    shown_names = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
    return " beside ".join(shown_names)


def _head(comparison: Comparison) -> Html:
    groups, runs = plural(len(comparison.groups), "recipe"), plural(len(comparison.members), "run")
    yield f'<header><p class="eyebrow">Comparison of {runs} of {groups}</p><h1>{shown(_title(comparison))}</h1>'
    main = comparison.metrics[0].name if comparison.metrics else ""
    sentences = [sentence_of(test) for test in comparison.tests if test.metric == main]
    yield "".join(f'<p class="lead">{shown(one)}</p>' for one in sentences)
    yield "</header>"
    if comparison.remarks:
        listed = "".join(f"<li>{shown(one)}</li>" for one in comparison.remarks)
        yield f'<ul class="warnings" aria-label="Remarks">{listed}</ul>'


def _differences(comparison: Comparison) -> Html:
    names = [short(printable(group.name), _LONGEST_NAME) for group in comparison.groups]
    found = comparison.differences
    if not found:
        yield '<p class="soft">Nothing in recipe, plan, data and code.</p>'
        return
    more = f" The first {_MOST_DIFFERENCES} of {len(found):,}." if len(found) > _MOST_DIFFERENCES else ""
    yield f'<p class="soft">All else is the same: recipe, plan, data, code.{more}</p>'
    rows = [
        [shown(one.name), shown(one.section), *(shown(short(value, _LONGEST_VALUE)) for value in one.values)]
        for one in found[:_MOST_DIFFERENCES]
    ]
    yield scroll("What differs", table("What differs", ("what", "part of", *names), rows), is_wide=len(names) > 2)


def _metrics(comparison: Comparison) -> Html:
    if not comparison.metrics:
        return
    rows = []
    for metric in comparison.metrics:
        for group, estimate in zip(comparison.groups, metric.estimates, strict=True):
            mean, interval, over = format_estimate(metric.name, estimate)
            spread = "" if estimate is None or estimate.std is None else format_metric(metric.name, estimate.std)
            name = f"{name_of(metric.name)}, {short(group.name, _LONGEST_NAME)}"
            rows.append([shown(name), mean, interval, spread, shown(over)])
    yield (
        '<p class="soft">Of the best weights. The interval holds the true mean in 95 of 100 such cases: '
        "by Student's t over several runs, by Wilson's formula over the samples of a single one.</p>"
    )
    head = ("metric, of", "mean", "95 % interval", "standard deviation", "over")
    yield scroll("Metrics", table("Metrics", head, rows, numbers=3))
    main = comparison.metrics[0]
    values = [{} if one is None else one.values for one in main.estimates]
    units = list(dict.fromkeys(unit for of_group in values for unit in of_group))
    if max(map(len, values)) > 1:
        kind = ", ".join(dict.fromkeys(group.unit for group in comparison.groups))
        cells = [
            [shown(short(group.name, _LONGEST_NAME)), *(format_metric(main.name, of_group.get(unit)) for unit in units)]
            for group, of_group in zip(comparison.groups, values, strict=True)
        ]
        caption = f"{name_of(main.name)} by {kind}"
        yield f"<details open><summary>{shown(caption.capitalize())}</summary>"
        heads = (kind, *(printable(unit) for unit in units))
        yield scroll(caption, table(caption, heads, cells, numbers=len(units)), is_wide=True) + "</details>"


def _tests(comparison: Comparison) -> Html:
    tests = comparison.tests
    if reason := why_no_test(comparison):
        yield f'<p class="soft">{shown(reason)}</p>'
    if not tests:
        return
    rows = [
        [
            shown(
                f"{name_of(one.metric)}, {short(one.other, _LONGEST_NAME)} beside {short(one.reference, _LONGEST_NAME)}"
            ),
            format_difference(one.metric, one.found.difference),
            format_interval(one),
            format_p(one.p),
            f"{TESTS[one.kind][0]}, {plural(one.pairs, one.unit)}",
        ]
        for one in tests
    ]
    head = ("metric", "difference", "95 % interval", "p", "by")
    yield scroll("Tests", table("Tests", head, [[*row[:4], shown(row[4])] for row in rows], numbers=3), is_wide=True)
    yield "".join(f'<p class="soft">{shown(note)}</p>' for note in notes_of(tests))


def _curves(comparison: Comparison) -> Html:
    charts = charts_of(comparison.groups)
    if not charts:
        return
    rest = len(comparison.groups) - MOST_GROUPS
    left_out = f" The first {MOST_GROUPS} recipes are drawn; {rest} more are not." if rest > 0 else ""
    bands = (
        " A band goes from the least to the greatest of the runs."
        if len(comparison.members) > len(comparison.groups)
        else ""
    )
    yield (
        '<p class="soft">Point at a curve, or focus it and use the arrow keys, to read its numbers. Curves of several runs are '
        f'their mean, as far as all of them got.{bands}{left_out}</p><div class="charts">'
    )
    yield "".join(figure(chart) for chart in charts) + "</div>"


def _runs(comparison: Comparison, place: Path) -> Html:
    main = comparison.metrics[0].name if comparison.metrics else ""
    rows = []
    for group in comparison.groups:
        for one in group.members:
            seconds = number(one.record, "result", "seconds")
            rows.append(
                [
                    _linked(one, place),
                    format_metric(main, one.metrics.get(main)),
                    "" if seconds is None else format_duration(seconds),
                    shown(short(group.name, _LONGEST_NAME)),
                    shown(one.state),
                    shown(text(one.record, "recipe", "seed")),
                    shown(text(one.record, "recipe_hash")),
                    shown(str(one.content.folder)),
                ]
            )
    head = ("run", name_of(main) or "metric", "duration", "recipe", "state", "seed", "hash of the recipe", "folder")
    yield scroll("Runs", table("Runs", head, rows, numbers=2), is_wide=True)


def _linked(run: Member, place: Path) -> str:
    """Return the name of a run, as a link to its report if that lies below the folder of the page: both move together."""
    name, report = shown(short(run.name, _LONGEST_NAME)), run.content.folder.absolute() / REPORT
    folder = place.absolute().parent
    if not report.is_file() or not report.is_relative_to(folder):
        return name
    return f'<a href="{escape(quote(report.relative_to(folder).as_posix()))}">{name}</a>'

"""Puts the page of a report together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from ...training.common.program.shown import printable
from ...training.inspection.page.document import make_document
from ...training.inspection.page.tables import bar_table, table
from ...training.observers.screen.tables import format_duration, format_percent, plural
from ..common.values import mapping, number, text
from . import words
from .content import Content
from .curves import Chart, epoch_rows
from .drawing import MOST_CLASSES, draw_confusion, format_number, short, shown
from .parts import figure, scroll, sections_of
from .samples import answer_of, draw_sample
from .script import SCRIPT
from .style import CSS

_MOST_CLASS_ROWS, _MOST_PAIRS, _MOST_DECISIONS = 1000, 100, 300
_MOST_EPOCHS = 500
_LONGEST_REASON = 600

Html = Iterator[str]


def make_page(content: Content) -> str:
    """Return the page as HTML."""
    sections = (
        ("curves", "Curves", _charts(content, content.charts, has_epochs=True)),
        (
            "mistakes",
            "Worst mistakes" if content.confusion is not None else "Samples of the highest loss",
            _mistakes(content),
        ),
        ("confusion", "Which class was taken for which", _confusion(content)),
        ("classes", "Classes", _classes(content)),
        ("recipe", "Recipe: what decides the weights", _recipe(content)),
        ("speed", "Rate and batch", _charts(content, content.speed_charts)),
        ("time", "Where the time went", _timing(content)),
        ("decisions", "Decisions and warnings", _decisions(content)),
        ("plan", "Machine and plan: how it was computed", _plan(content)),
        ("data", "Data as they were understood", _data(content)),
        ("again", "The same again", _command(content)),
    )
    links, bodies = sections_of(sections)
    body = f"<main>{''.join(_head(content))}{links}{bodies}{_foot(content)}</main>"
    return make_document(printable(shown_name(content)), CSS, body, SCRIPT)


def shown_name(content: Content) -> str:
    """Return the name of the run as the title has it."""
    return short(text(content.record, "name"), 200)


def _head(content: Content) -> Html:
    yield f'<header><p class="eyebrow">Report of a training</p><h1>{shown(shown_name(content))}</h1>'
    yield f'<p class="lead">{shown(words.summary(content.record, content.history, content.confusion))}</p>'
    state, sentence = words.state_of(content.record, content.is_held)
    if state != "finished":
        yield f'<p class="state"><strong>{shown(state)}</strong>. {shown(sentence)}</p>'
    yield "</header>"
    boxes = "".join(
        f"<div><dt>{shown(label)}</dt><dd>{shown(value)}<small>{shown(more)}</small></dd></div>"
        for label, value, more in words.figures(content.record, content.history)
    )
    yield f'<dl class="figures">{boxes}</dl>' if boxes else ""
    warnings = list(dict.fromkeys(text(one, "reason") for one in content.decisions if one.get("warning") is True))[:8]
    if warnings:
        listed = "".join(f"<li>{shown(short(one, _LONGEST_REASON))}</li>" for one in warnings)
        yield f'<ul class="warnings" aria-label="Warnings">{listed}</ul>'


def _charts(content: Content, charts: Sequence[Chart], *, has_epochs: bool = False) -> Html:
    if not charts:
        return
    yield '<p class="soft">Point at a curve, or focus it and use the arrow keys, to read its numbers.</p><div class="charts">'
    for chart in charts:
        yield figure(chart, content.history.stages)
    yield "</div>"
    if has_epochs and content.history.epochs:
        head, *rows = epoch_rows(content.history)
        cells = [[shown(_cell(value)) for value in row] for row in rows[:_MOST_EPOCHS]]
        more = f" (the first {_MOST_EPOCHS}; all are in results.csv)" if len(rows) > _MOST_EPOCHS else ""
        names = [printable(str(name)).replace("_", " ") for name in head]
        shown_table = scroll("Every epoch", table("Every epoch", names, cells), is_wide=True)
        yield f"<details><summary>The numbers of every epoch{more}</summary>{shown_table}</details>"


def _cell(value: str | float | int | None) -> str:
    if isinstance(value, float):
        return format_number(value)
    return "" if value is None else str(value)


def _mistakes(content: Content) -> Html:
    worst = content.worst
    if not worst:
        return
    split = text(content.answers, "split")
    count, of = number(content.answers, "mistakes"), number(content.answers, "samples") or 0
    which = f"{count:,.0f} of {of:,.0f}" if count is not None else f"{of:,.0f}"
    listed = f"the {len(worst)} of the highest loss" if count is None or count > len(worst) else "all of them"
    what = "were given another class" if count is not None else "were measured"
    yield f'<p class="soft">{which} samples of the {shown(split)} split {what}; here are {listed}, the worst first.</p>'
    if content.clips:
        yield '<p><button type="button" id="play" hidden>Pause the clips</button></p>'
    cards = "".join(_card(content, row, place) for place, row in enumerate(worst) if content.is_shown(place))
    yield f'<ul class="cards">{cards}</ul>' if cards else ""
    rest = [row for place, row in enumerate(worst) if not content.is_shown(place)]
    if rest:
        are_classes = content.confusion is not None
        answers = [_classes_of(content, row) if are_classes else answer_of(row)[::-1] for row in rest]
        head = ("sample", *(("right class" if are_classes else "right", "said") if any(answers) else ()), "loss")
        rows = [
            [
                shown(_place(row)),
                *(shown(one) for one in answer or ("", "")[: len(head) - 2]),
                _cell(number(row, "loss")),
            ]
            for row, answer in zip(rest, answers, strict=True)
        ]
        listed = scroll("Further mistakes", table("Further mistakes", head, rows))
        yield f"<details{'' if cards else ' open'}><summary>{plural(len(rest), 'further sample')}</summary>{listed}</details>"


def _card(content: Content, row: Mapping[str, Any], place: int) -> str:
    right, said = _classes_of(content, row)
    title = right if right else _place(row)
    parts = [f"<li><h3>{shown(short(title, 80))}</h3>"]
    if said:
        chance = number(row, "probability")
        given = "" if chance is None else f"; the right class got {format_percent(chance)}"
        parts.append(f'<p class="said">taken for <strong>{shown(short(said, 80))}</strong>{given}</p>')
    if title != _place(row):
        parts.append(f"<p>{shown(_place(row))}</p>")
    if not said and (answer := answer_of(row)):
        parts.append(f'<p class="said">said <strong>{shown(answer[0])}</strong>, right is {shown(answer[1])}</p>')
    parts += draw_sample(row, _place(row))
    if (drawing := content.clips.get(place)) is not None:
        parts.append(drawing.svg)
        if drawing.frames > 1:
            most, label = drawing.frames - 1, shown(f"Frame of {_place(row)}")
            parts.append(f'<input type="range" min="0" max="{most}" value="0" aria-label="{label}" hidden>')
    return f"{''.join(parts)}</li>"


def _classes_of(content: Content, row: Mapping[str, Any]) -> tuple[str, str]:
    label, said = number(row, "label"), number(row, "predicted")
    if content.confusion is None or label is None or said is None:
        return "", ""
    return content.confusion.name(int(label)), content.confusion.name(int(said))


def _place(row: Mapping[str, Any]) -> str:
    return text(row, "where") or f"sample {text(row, 'index')}"


def _confusion(content: Content) -> Html:
    confusion = content.confusion
    if confusion is None:
        return
    width, height, drawn = draw_confusion(confusion)
    every = len(confusion.rows())
    which = (
        f"; drawn are the {MOST_CLASSES} of {every:,} classes with the most mistakes" if every > MOST_CLASSES else ""
    )
    yield (
        f'<p class="soft">{confusion.mistakes:,} of {confusion.samples:,} samples of the {shown(confusion.split)} split were '
        f"given another class{which}. Darker: a larger share of the right class; point at a cell for its numbers.</p>"
    )
    label = escape(f"Confusion matrix of {every} classes; its mistakes are listed below it")
    yield '<div class="scroll wide" tabindex="0" role="region" aria-label="Confusion matrix">'
    size = f'viewBox="0 0 {width} {height}" style="max-width:{1.3 * width:.0f}px"'
    yield f'<svg class="matrix" {size} role="img" aria-label="{label}">{drawn}</svg></div>'
    pairs = confusion.pairs()
    if pairs:
        rows = [[shown(right), shown(said), f"{count:,}"] for right, said, count in pairs[:_MOST_PAIRS]]
        more = f", the {_MOST_PAIRS} most frequent of {len(pairs):,}" if len(pairs) > _MOST_PAIRS else ""
        listed = scroll("Mistakes by classes", table("Mistakes by classes", ("right class", "said", "samples"), rows))
        yield f"<details><summary>Mistakes as a list{more}</summary>{listed}</details>"


def _classes(content: Content) -> Html:
    confusion = content.confusion
    if confusion is None:
        return
    rows = confusion.rows()
    more = f"; the first {_MOST_CLASS_ROWS:,} of {len(rows):,}" if len(rows) > _MOST_CLASS_ROWS else ""
    yield (
        f'<p class="soft">The {shown(confusion.split)} split, the least known class first{more}. Recall: the share of its '
        "samples for which it was said. Precision: the share of what was said to be it that is it.</p>"
    )
    cells = [
        [
            shown(row.name),
            f"{row.samples:,}",
            *(_share(one) for one in (row.recall, row.precision, row.f1)),
            shown(row.taken_for),
        ]
        for row in rows[:_MOST_CLASS_ROWS]
    ]
    head = ("class", "samples", "recall", "precision", "F1", "most often taken for")
    yield scroll("How well each class is known", table("How well each class is known", head, cells, numbers=4))


def _share(value: float | None) -> str:
    return "" if value is None else format_percent(value)


def _recipe(content: Content) -> Html:
    rows = [(shown(name), shown(value)) for name, value in words.recipe_rows(content.record) if value]
    yield '<p class="soft">Whoever trains with this recipe on these data gets these weights, on whatever machine.</p>'
    yield scroll("Recipe", table("Recipe", ("what", "value"), rows))
    stages = words.stage_rows(content.record)
    if stages:
        head = (
            "stage",
            "epochs",
            "peak rate",
            "weight decay",
            "settings",
            "best epoch",
            "its score",
            "ended by",
            "time",
        )
        cells = [[shown(cell) for cell in row] for row in stages]
        yield scroll("Stages", table("Stages", head, cells), is_wide=True)


def _timing(content: Content) -> Html:
    rows = words.timing_rows(content.record, content.history, content.events)
    total = sum(seconds for _, seconds in rows)
    if total > 0:
        yield f'<p class="soft">{format_duration(total)} in all</p><div class="narrow">'
        bars = [(name, format_duration(seconds), seconds / total) for name, seconds in rows]
        yield bar_table("Where the time went", ("what", "time"), bars)
        yield "</div>"
    if content.sections:
        cells = [
            [
                shown(text(one, "name")),
                f"{number(one, 'times') or 0:.0f}",
                f"{1000 * (number(one, 'seconds') or 0):.1f} ms",
            ]
            for one in content.sections
        ]
        yield '<p class="soft">Of the steps that were profiled:</p>'
        yield scroll("Sections of a step", table("Sections of a step", ("section", "times", "time"), cells, numbers=2))


def _decisions(content: Content) -> Html:
    decisions = content.decisions
    if not decisions:
        return
    warned = "<strong>warning</strong> "
    rows = [
        [
            format_duration(number(one, "time_seconds") or 0),
            shown(text(one, "event").replace("_", " ")),
            f"{warned if one.get('warning') is True else ''}{shown(short(text(one, 'reason'), _LONGEST_REASON))}",
        ]
        for one in decisions[:_MOST_DECISIONS]
    ]
    more = "" if len(decisions) <= _MOST_DECISIONS else f"; the first {_MOST_DECISIONS} of {len(decisions):,}"
    yield f'<p class="soft">What the program chose by itself, when, and why{more}.</p>'
    yield scroll("Decisions", table("Decisions", ("after", "what", "reason"), rows), is_wide=True)


def _plan(content: Content) -> Html:
    rows = [
        (shown(name), shown(value), shown(reason)) for name, value, reason in words.plan_rows(content.record) if value
    ]
    yield '<p class="soft">Another machine or another plan changes the speed, not what is learned.</p>'
    yield scroll("Machine and plan", table("Machine and plan", ("what", "value", "why"), rows))


def _data(content: Content) -> Html:
    rows = [
        (shown(name), shown(short(value, _LONGEST_REASON))) for name, value in words.data_rows(content.record) if value
    ]
    yield scroll("Data", table("Data", ("what", "value"), rows)) if rows else ""


def _command(content: Content) -> Html:
    if line := words.command(content.record):
        yield f"<pre><code>{shown(line)}</code></pre>"
        if "***" in line:
            yield '<p class="soft">*** stands for a secret that is not kept.</p>'


def _foot(content: Content) -> str:
    version = text(mapping(content.record, "versions"), "slipway")
    return (
        f'<footer class="soft">Made by Slipway {shown(version)} from {shown(str(content.folder))}. '
        f"Started {shown(text(content.record, 'started'))}.</footer>"
    )

"""The findings of an inspection in a terminal: one column of facts with small bars, plain text in a pipe."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from .findings import Inspection
from .texts import count, describe_split, frames_text, many_pairs, percent, worst_missing

_MOST_CLASSES = 24
_MOST_LANDMARKS = 6
_MOST_SIGNERS = 8
_BAR_CELLS = 24
_DIM, _HEAD, _WARNING = "dim", "bold", "yellow"
_STEPS = "▁▂▃▄▅▆▇█"


class InspectionView:
    """Draws an inspection on a `rich` console."""

    def __init__(self, record: Inspection) -> None:
        self._record = record

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the sentence, then a table of facts, then notes, warnings and how to say otherwise."""
        record = self._record
        unicode = not options.ascii_only
        yield Text(record.sentence, _HEAD)
        yield Text()
        facts = Table.grid(padding=(0, 2))
        facts.add_column(style=_DIM, no_wrap=True)
        facts.add_column()
        facts.add_row("format", record.format)
        facts.add_row("frames", _frames(record, unicode))
        facts.add_row("classes", _counts(record.classes, _MOST_CLASSES, "class", "classes", unicode))
        facts.add_row(
            "signers",
            _counts(record.signers, _MOST_SIGNERS, "signer", "signers", unicode) if record.signers else "none known",
        )
        for kind, number in record.groups.items():
            facts.add_row(kind, count(number, "group"))
        facts.add_row("missing", _missing(record, unicode))
        facts.add_row("split", _split(record))
        yield facts
        for style, word, sentences in (
            ("", "note", (*record.notes, *record.split.notes)),
            (_WARNING, "warning", (*record.warnings, *record.split.warnings)),
        ):
            if sentences:
                yield Text()
            for sentence in sentences:
                yield Text.assemble((f"{word}: ", style or _DIM), (sentence, style))
        if record.say_otherwise:
            yield Text()
            yield Text("to say otherwise", _HEAD)
            hints = Table.grid(padding=(0, 2))
            hints.add_column(no_wrap=True)
            hints.add_column(style=_DIM)
            for hint in record.say_otherwise:
                hints.add_row(f"  {hint.option}", hint.when)
            yield hints


def _frames(record: Inspection, unicode: bool) -> Text:
    text = Text(frames_text(record.frames))
    if unicode and record.frames.min < record.frames.max:
        most = max(record.lengths.values())
        bars = "".join(_STEPS[-(-7 * number // most)] if number else " " for number in record.lengths.values())
        text.append(f"  {bars}", _DIM)
    return text


def _counts(counts: Mapping[str, int], limit: int, one: str, many: str, unicode: bool) -> Group:
    shown = sorted(counts.items(), key=lambda item: -item[1]) if len(counts) > limit else list(counts.items())
    most = max(counts.values())
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold", max_width=40)
    table.add_column(justify="right")
    table.add_column(no_wrap=True)
    for name, number in shown[:limit]:
        table.add_row(name, f"{number:,}", _bar(number / most, unicode))
    rest = shown[limit:]
    if not rest:
        return Group(table)
    fewest = f", the smallest with {count(rest[-1][1], 'clip')}"
    return Group(table, Text(f"and {len(rest):,} more {one if len(rest) == 1 else many}{fewest}", _DIM))


def _missing(record: Inspection, unicode: bool) -> Group:
    table = Table.grid(padding=(0, 2))
    worst = worst_missing(record)
    for name, share in worst[:_MOST_LANDMARKS]:
        table.add_row(name, percent(share), _bar(share, unicode))
    lines: list[Text | Table] = [Text(f"{percent(record.missing_share)} of all points")]
    if worst:
        lines.append(table)
    if len(worst) > _MOST_LANDMARKS:
        lines.append(Text(f"and {len(worst) - _MOST_LANDMARKS:,} more", _DIM))
    return Group(*lines)


def _split(record: Inspection) -> Group:
    split = record.split
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for name, part in split.parts.items():
        table.add_row(name, count(part.clips, "clip"), count(part.classes, "class", "classes"), _signers(part.signers))
    if split.dropped:
        table.add_row("dropped", count(split.dropped, "clip"))
    lines: list[Text | Table] = [Text(describe_split(split)), table]
    if split.near_duplicates:
        number = many_pairs(split.near_duplicates, "held-out clip")
        lines.append(Text(f"{number} nearly the same as a training clip: --json lists them", _DIM))
    return Group(*lines)


def _signers(signers: tuple[str, ...]) -> str:
    shown = ", ".join(signers[:4])
    return f"{shown}, and {len(signers) - 4} more" if len(signers) > 4 else shown


def _bar(share: float, unicode: bool) -> Text:
    cells = max(share > 0, round(share * _BAR_CELLS))
    return Text(("█" if unicode else "#") * cells, "cyan")

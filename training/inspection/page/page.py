"""Puts the page of an inspection together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from shlex import quote

import numpy as np

from ...data.landmarks import LandmarkData
from ..findings import Findings, Inspection
from ..texts import count, describe_split, frames_text, many_pairs, percent, short_place, worst_missing
from .charts import histogram
from .clips import ClipDrawer, hidden_landmarks, side_name
from .document import make_document
from .style import CSS
from .tables import bar_table, table

_MOST_CARDS = 400
"""Classes that are drawn; so many make a page of a few megabytes."""
_MOST_FRAMES = 6
_SAMPLED_FRAMES = 50_000
"""Frames of which the range of a channel is taken."""
_DRAWN_BYTES = 3_000_000
_BYTES_PER_POINT = 20
_MOST_LANDMARKS = 12
_MANY_CLASSES = 12
_MOST_SIGNERS = 40
_MOST_PAIRS = 10


def make_page(findings: Findings, source: str) -> str:
    """Return the page as HTML; `source` is what was inspected, as it was named."""
    record = findings.record
    name = findings.data.name
    sections = "".join(
        (
            *_head(record, name),
            *_clips(findings, source),
            *_classes(record),
            *_lengths_and_signers(record),
            *_missing(record),
            *_split(record),
            *_near_duplicates(record, source),
            *_otherwise(record, source),
        )
    )
    return make_document(f"{name}: what was understood", CSS, f"<main>{sections}</main>")


def _head(record: Inspection, name: str) -> Iterator[str]:
    yield f'<header><p class="eyebrow">Data as training reads them</p><h1>{escape(name)}</h1>'
    yield f'<p class="lead">{escape(record.sentence)}.</p></header>'
    frames = record.frames
    one_length = frames.min == frames.max
    figures = (
        ("clips", f"{record.clips:,}", ""),
        (
            "frames of a clip",
            f"{frames.median:g}",
            "each" if one_length else f"median; {frames.min:,} to {frames.max:,}",
        ),
        ("landmarks" if record.coords else "channels", f"{record.landmarks:,}", _what(record)),
        ("classes", f"{len(record.classes):,}", ""),
        ("signers", f"{len(record.signers):,}" if record.signers else "none known", ""),
        ("missing", percent(record.missing_share), "of all points" if record.coords else "of all numbers"),
    )
    boxes = "".join(
        f"<div><dt>{title}</dt><dd>{escape(value)}{f'<small>{escape(more)}</small>' if more else ''}</dd></div>"
        for title, value, more in figures
    )
    yield f'<dl class="figures">{boxes}</dl>'
    if warnings := (*record.warnings, *record.split.warnings):
        yield f'<ul class="warnings" aria-label="Warnings">{_items(warnings)}</ul>'
    if record.notes:
        yield f'<h2>What was decided</h2><ul class="notes">{_items(record.notes)}</ul>'


def _what(record: Inspection) -> str:
    return f"{record.layout}; {', '.join(record.coords)}" if record.coords else record.format


def _items(sentences: Sequence[str]) -> str:
    return "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)


def _clips(findings: Findings, source: str) -> Iterator[str]:
    data = findings.data
    chosen = typical_clips(data)
    labels = sorted(chosen)[:_MOST_CARDS]
    frames = _DRAWN_BYTES // (len(labels) * data.layout.num_landmarks * _BYTES_PER_POINT)
    drawer = ClipDrawer(
        data.layout,
        most_frames=max(1, min(_MOST_FRAMES, frames)),
        longest=int(np.diff(data.offsets).max()),
        ranges=_ranges(data),
        aspect=_aspect([data.clip(chosen[label])[:, ~hidden_landmarks(data.layout)] for label in labels]),
    )
    yield f"<h2>One clip of each class</h2>{_explain(drawer, data)}"
    if len(chosen) > len(labels):
        yield f'<p class="soft">The first {len(labels)} of {len(chosen):,} classes are drawn.</p>'
    yield f'<ul class="cards{" wide" if drawer.is_wide else ""}">'
    for label in labels:
        row, name = chosen[label], data.class_names[label]
        clip = data.clip(row)
        place = escape(short_place(data.where(row), source))
        title = f"{name}: a clip of {count(len(clip), 'frame')}"
        yield f'<li><h3>{escape(name)}</h3><p title="{place}">{place}</p>{drawer.draw(clip, title)}</li>'
    yield "</ul>"


def _explain(drawer: ClipDrawer, data: LandmarkData) -> str:
    if not data.layout.spatial:
        what = "Each line is a channel in time, from its least to its greatest value in all clips."
    elif drawer.is_track:
        what = "The way of each point, darker with time; the dot is where it ends."
    elif drawer.is_wide:
        what = "Frames from left to right, with the number of each below it."
        what += " Legs are not drawn." if hidden_landmarks(data.layout).any() else ""
    else:
        what = "Each drawing is a frame."
    sides = [side for side in drawer.sides if side != "m"]
    keys = "".join(f'<span class="key"><i class="{side}"></i>{side_name(side)}</span>' for side in drawer.sides)
    return f'<p class="soft">{what}</p>{f"<p class=soft>{keys}</p>" if sides else ""}'


def typical_clips(data: LandmarkData) -> dict[int, int]:
    """Return a clip of each class that has one: among those with the fewest points missing, the one of middle length."""
    lengths = np.diff(data.offsets)
    missing = np.zeros(len(data), dtype=np.int64)
    for row, (start, stop) in enumerate(zip(data.offsets[:-1].tolist(), data.offsets[1:].tolist(), strict=True)):
        missing[row] = np.isnan(data.values[start:stop, :, 0]).sum()
    share = missing / np.maximum(1, lengths)
    chosen = {}
    for label in np.unique(data.labels).tolist():
        rows = np.flatnonzero(data.labels == label)
        rows = rows[share[rows] <= np.quantile(share[rows], 0.25)]
        chosen[label] = int(rows[np.argmin(np.abs(lengths[rows] - np.median(lengths[rows])))])
    return chosen


def _ranges(data: LandmarkData) -> np.ndarray:
    """Return the usual least and greatest value of each channel, [landmarks, 2]; zeros for points in space."""
    if data.layout.spatial:
        return np.zeros((data.layout.num_landmarks, 2))
    some = data.values[:: max(1, len(data.values) // _SAMPLED_FRAMES), :, 0]
    some = np.where(np.isnan(some).all(axis=0), 0, some)
    return np.nanquantile(some, (0.01, 0.99), axis=0).T


def _aspect(clips: Sequence[np.ndarray]) -> float:
    """Return the usual width of what clips show by its height; 1 where neither is known."""
    ratios = []
    for clip in clips:
        points = clip.reshape(-1, clip.shape[2])
        points = points[~np.isnan(points[:, 0])]
        if len(points) and points.shape[1] > 1:
            width, height = np.ptp(points[:, :2], axis=0)
            if width > 0 and height > 0:
                ratios.append(width / height)
    return float(np.median(ratios)) if ratios else 1.0


def _classes(record: Inspection) -> Iterator[str]:
    most = max(record.classes.values())
    rows = [(name, f"{number:,}", number / most) for name, number in record.classes.items()]
    smallest, largest = min(record.classes.values()), most
    each = count(smallest, "clip") if smallest == largest else f"{smallest:,} to {largest:,} clips"
    yield f"<h2>Classes</h2><p class='soft'>{count(len(rows), 'class', 'classes')} of {each}</p>"
    shown = bar_table("Clips of each class", ("class", "clips"), rows)
    yield f'<div class="{"columns" if len(rows) > _MANY_CLASSES else "narrow"}">{shown}</div>'


def _lengths_and_signers(record: Inspection) -> Iterator[str]:
    yield '<div class="pair"><section><h2>Lengths</h2>'
    yield f'<p class="soft">Frames of a clip: {frames_text(record.frames)}</p>'
    if record.frames.min < record.frames.max:
        yield histogram(record.lengths)
    yield "</section><section><h2>Signers</h2>"
    if record.signers:
        most = max(record.signers.values())
        rows = [(name, f"{number:,}", number / most) for name, number in record.signers.items()][:_MOST_SIGNERS]
        more = f"; the first {_MOST_SIGNERS}" if len(record.signers) > _MOST_SIGNERS else ""
        yield f'<p class="soft">{count(len(record.signers), "signer")}{more}</p>'
        yield bar_table("Clips of each signer", ("signer", "clips"), rows)
    else:
        yield '<p class="soft">The data do not say who signs.</p>'
    for kind, number in record.groups.items():
        yield f'<p class="soft">Also known: {escape(kind)}, {count(number, "different value")}.</p>'
    yield "</section>"


def _missing(record: Inspection) -> Iterator[str]:
    worst = worst_missing(record)
    yield "<section><h2>Missing points</h2>"
    if worst:
        more = f"; the worst {_MOST_LANDMARKS} of {len(worst)}" if len(worst) > _MOST_LANDMARKS else ""
        yield f'<p class="soft">{percent(record.missing_share)} of all, by landmark{more}</p>'
        rows = [(name, percent(share), share) for name, share in worst[:_MOST_LANDMARKS]]
        yield bar_table("Share of missing points", ("landmark", "missing"), rows)
    else:
        yield '<p class="soft">Nothing is missing.</p>'
    yield "</section></div>"


def _split(record: Inspection) -> Iterator[str]:
    split = record.split
    rows = [
        (name, f"{part.clips:,}", percent(part.clips / record.clips), f"{part.classes:,}", escape(_names(part.signers)))
        for name, part in split.parts.items()
    ]
    if split.dropped:
        rows.append(("dropped", f"{split.dropped:,}", percent(split.dropped / record.clips), "", ""))
    columns = 5 if record.signers else 4
    head = ("split", "clips", "share", "classes", "signers")[:columns]
    yield f'<h2>The split that training makes</h2><p class="soft">{escape(describe_split(split))}</p>'
    yield table("Clips of each split", head, [row[:columns] for row in rows], numbers=3)
    if split.notes:
        yield f'<ul class="notes soft">{_items(split.notes)}</ul>'


def _near_duplicates(record: Inspection, source: str) -> Iterator[str]:
    pairs = record.split.near_duplicates
    if not pairs and not record.split.neighbour_share:
        return
    yield "<h2>Nearly the same in training and test</h2>"
    if share := record.split.neighbour_share:
        beside = (
            f"{percent(share)} of the test clips stand beside a training clip in the source and are nearly the same."
        )
        yield f"<p class='soft'>{beside}</p>"
    if pairs:
        shown = f"{many_pairs(pairs, 'pair')}{f', the nearest {_MOST_PAIRS}' if len(pairs) > _MOST_PAIRS else ''}"
        yield f'<p class="soft">{shown}; 0: the same, 1: as far as two clips of a class mostly are.</p>'
        rows = [
            (
                escape(short_place(pair.clip, source)),
                f"{pair.distance:.3f}",
                pair.split,
                escape(short_place(pair.train_clip, source)),
                "same" if pair.same_class else "<strong>another</strong>",
            )
            for pair in pairs[:_MOST_PAIRS]
        ]
        head = ("held-out clip", "distance", "split", "training clip", "class")
        yield table("Clips of different splits that are nearly the same", head, rows, numbers=1)


def _names(signers: tuple[str, ...]) -> str:
    shown = ", ".join(signers[:8])
    return f"{shown}, and {len(signers) - 8} more" if len(signers) > 8 else shown


def _otherwise(record: Inspection, source: str) -> Iterator[str]:
    if not record.say_otherwise:
        return
    yield "<h2>How to say otherwise</h2>"
    yield f'<p class="soft">Options of <code>slipway train --data {escape(quote(source))}</code> and of this page.</p>'
    rows = [(f"<code>{escape(hint.option)}</code>", escape(hint.when)) for hint in record.say_otherwise]
    yield table("Options that make sense for these data", ("option", "when"), rows)

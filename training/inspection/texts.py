"""Counts, shares and lengths as people read them, for the terminal and the page."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

from ..common.small_files import expanded
from ..data.understanding.summary import FrameCounts, Understood
from .findings import MOST_PAIRS, NearDuplicate, SplitFound


def count(number: int, one: str, many: str = "") -> str:
    """Return a count with its noun: `1 clip`, `1,200 clips`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def percent(share: float) -> str:
    """Return a share in per cent, with two digits if it is small, so that little is not said to be nothing."""
    per_cent = 100.0 * share
    return f"{per_cent:.0f} %" if per_cent >= 10 or per_cent == 0 else f"{per_cent:.2g} %"


def describe_split(split: SplitFound) -> str:
    """Return how a split was made: `stratified, seed 0, no recording in two splits`."""
    kept = f", no {split.group} in two splits" if split.group else ""
    return f"{split.mode}, seed {split.seed}{kept}"


def many_pairs(pairs: Sequence[NearDuplicate], one: str) -> str:
    """Return the number of pairs with its noun; of those that were not all looked for, `100 or more clips`."""
    return f"{len(pairs)} or more {one}s" if len(pairs) == MOST_PAIRS else count(len(pairs), one)


def frames_text(frames: FrameCounts) -> str:
    """Return the lengths of clips: `30 in each clip`, or `3 to 30, median 12`."""
    if frames.min == frames.max:
        return f"{frames.min:,} in each clip"
    return f"{frames.min:,} to {frames.max:,}, median {frames.median:g}"


def short_place(where: str, source: str) -> str:
    """Return the place of a clip without the folders above its source, the row first: `line 3, coords.csv`."""
    path = expanded(source)
    for folder in (path, path.parent):
        where = where.removeprefix(f"{folder}/")
    return ", ".join(reversed(where.split(", ", maxsplit=1)))


def worst_missing(understood: Understood) -> list[tuple[str, float]]:
    """Return the landmarks that are missing at all with their share, the worst first.

    Neighbours that are missing equally often stand together: `left_hand`, `pose.left_hip to pose.left_knee`.
    """
    runs = [
        ([name for name, _ in run], share)
        for share, run in itertools.groupby(understood.missing_by_landmark.items(), key=lambda item: round(item[1], 3))
        if share > 0
    ]
    sizes = Counter(map(_part, understood.missing_by_landmark))
    return sorted(((_name_of_run(names, sizes), share) for names, share in runs), key=lambda item: -item[1])


def _name_of_run(names: list[str], sizes: Mapping[str, int]) -> str:
    parts = Counter(map(_part, names))
    if len(names) > 1 and all(part and sizes[part] == number for part, number in parts.items()):
        return ", ".join(parts)
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _part(name: str) -> str:
    return name.rpartition(".")[0]

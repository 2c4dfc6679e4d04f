"""What a split depends on: labels, the own split, exact copies, and what must stay together."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass

import numpy as np

from ...common.errors import UserError
from ..landmarks import SIGNER, SPLITS, LandmarkData
from .blocks import BLOCKS, block_names

TRAIN, VALIDATION, TEST = range(3)
DROPPED = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Clips:
    """What a split depends on, each [clips]."""

    name: str
    labels: np.ndarray
    class_names: tuple[str, ...]
    own: np.ndarray
    """The data's own split as TRAIN, VALIDATION, TEST, or -1."""
    originals: np.ndarray
    """The index of the first clip with the same bytes; of a clip that is not a copy, its own index."""
    signers: np.ndarray
    """Names as texts, empty where unknown."""
    group: str | None
    """The kind of group that is never split."""
    groups: np.ndarray
    """The group of each clip as a text, empty where unknown or if no kind is asked for."""

    def together(self, rows: np.ndarray) -> np.ndarray:
        """Return a number from 0 for each of some clips, [rows]; clips with the same number stay in one split."""
        copies = np.unique(self.originals[rows], return_inverse=True)[1]
        if self.group is None:
            return copies
        return connected(np.unique(self.groups[rows], return_inverse=True)[1], copies)


def describe(data: LandmarkData, group: str | None) -> Clips:
    """Return what a split depends on. Raises `UserError` if the data do not know this kind of group."""
    own = np.array([SPLITS.index(name) if name else -1 for name in data.own_split], dtype=np.int64)
    first: dict[bytes, int] = {}
    originals = [
        first.setdefault(hashlib.blake2b(data.values[start:stop].tobytes(), digest_size=16).digest(), index)
        for index, (start, stop) in enumerate(itertools.pairwise(data.offsets))
    ]
    groups = [""] * len(data)
    if group == BLOCKS and BLOCKS not in data.groups:
        groups = block_names(data)
    elif group is not None:
        check_kind(data, group, "--group", (BLOCKS,))
        groups = list(data.group(group))
    return Clips(
        name=data.name,
        labels=data.labels,
        class_names=tuple(data.class_names),
        own=own if len(own) else np.full(len(data), -1),
        originals=np.array(originals, dtype=np.int64),
        signers=np.array(data.signers, dtype=np.str_),
        group=group,
        groups=np.array(groups, dtype=np.str_),
    )


def check_kind(data: LandmarkData, kind: str, option: str, others: tuple[str, ...] = ()) -> None:
    """Raise `UserError` with the kinds that the data have, unless they have this one."""
    if kind in data.groups:
        return
    hint = "" if option == "--group" else f"; for a column of this name add --group {kind}"
    if kind == SIGNER:
        hint = "; --signer COLUMN names the column of the signers"
    known = (*data.groups, *others)
    has = f"it has: {', '.join(known)}" if known else "it has none"
    raise UserError(f"{option} {kind}: {data.name} has no such groups; {has}{hint}")


def connected(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return a number from 0, [clips], for each set of clips that two numberings from 0 connect."""
    lowest = np.arange(first.max(initial=-1) + 1)
    while len(first):
        of_second = np.full(second.max() + 1, len(lowest))
        np.minimum.at(of_second, second, lowest[first])
        before = lowest.copy()
        np.minimum.at(lowest, first, of_second[second])
        if (lowest == before).all():
            break
    return np.unique(lowest[first], return_inverse=True)[1]


def without_copies(clips: Clips, drop: bool, notes: list[str]) -> np.ndarray:
    """Return the parts [clips]: all in train, except for dropped copies, those with the label of an earlier one."""
    parts = np.full(len(clips.labels), TRAIN)
    copies = np.flatnonzero(clips.originals != np.arange(len(parts)))
    if drop:
        copies = later_copies(clips, np.arange(len(parts)))
        parts[copies] = DROPPED
    if len(copies) and drop:
        notes.append(f"{count_clips(len(copies))} dropped as exact copies of earlier ones")
    elif len(copies):
        notes.append(
            f"{count_clips(len(copies))} are exact copies of earlier ones, each kept in the same split as its original"
        )
    return parts


def later_copies(clips: Clips, among: np.ndarray) -> np.ndarray:
    """Return which of the given clips have the same bytes and label as an earlier one of them."""
    pairs = np.stack([clips.originals[among], clips.labels[among]], axis=1)
    _, firsts = np.unique(pairs, axis=0, return_index=True)
    return np.delete(among, firsts)


def warn_of_conflicts(clips: Clips) -> tuple[str, ...]:
    """Return a warning of clips that are the same under more than one class, if there are any."""
    pairs = np.unique(np.stack([clips.originals, clips.labels], axis=1), axis=0)
    _, labels_of_each = np.unique(pairs[:, 0], return_counts=True)
    conflicts = np.count_nonzero(labels_of_each > 1)
    if not conflicts:
        return ()
    return (
        f"identical clips under more than one class: {conflicts}; such copies stay in one split, and no model can tell their "
        "classes: correct the labels",
    )


def count(number: int | np.integer, one: str, many: str) -> str:
    """Return a number with its word."""
    return f"{number} {one if number == 1 else many}"


def count_clips(number: int | np.integer) -> str:
    """Return a number of clips."""
    return count(number, "clip", "clips")

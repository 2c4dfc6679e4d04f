"""Samples with a label, divided into three splits by the rules of the landmark data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from ...common.errors import UserError
from ...config.recipe import check
from ..landmarks import SPLITS
from ..splits.clips import DROPPED, TEST, TRAIN, VALIDATION, Clips, without_copies
from ..splits.own import own_parts, refuse_no_train
from ..splits.stratified import hold_out
from ..text import natural_key

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Samples(Generic[Item]):
    """Samples in the order of their source."""

    source: str
    word: str
    """What one is, for messages: picture, text."""
    items: Sequence[Item]
    labels: Sequence[str]
    """The class of each by its name; an empty text for each where there are no classes."""
    own: Sequence[str]
    """The split of each that the source gives it, or an empty text."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled(Generic[Item]):
    """The samples of each split, with the numbers of their classes."""

    splits: dict[str, tuple[list[Item], np.ndarray]]
    """Of train, validation and test: the samples in the order of their source, and their labels, int64 [samples]."""
    class_names: tuple[str, ...]
    shares: Sequence[float]
    """How large the splits are, relative to each other."""
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return sum(len(items) for items, _ in self.splits.values())

    @property
    def about(self) -> str:
        """The number of classes, if there are any, and how large the splits are: 10 classes; 80/10/10."""
        shares = "/".join(f"{100 * share / sum(self.shares):.0f}" for share in self.shares)
        return f"{len(self.class_names)} classes; {shares}" if len(self.class_names) > 1 else shares


def split_samples(
    samples: Samples[Item], contents: Sequence[object], *, train_ratio: float, seed: int
) -> Labelled[Item]:
    """Return samples in splits, a pure function of the arguments: the source's own, else stratified by class.

    `contents` has a value for each that is equal for exact copies: of those of one class one is kept, so that none is in two
    splits. A validation or test that the source lacks is taken from train. Raises `UserError` for fewer than two classes,
    and where the classes are too small for a test.
    """
    _check_ratio(train_ratio)
    names = sorted(set(samples.labels), key=natural_key)
    if len(names) == 1 and names[0]:
        found = f"{'all ' * (len(samples.items) > 1)}{_count(len(samples.items), samples.word)}"
        raise UserError(
            f"{samples.source}: {found} of one class, {names[0]!r}: there is nothing to learn; give two classes or more"
        )
    number = {name: index for index, name in enumerate(names)}
    first: dict[object, int] = {}
    clips = Clips(
        name=samples.source,
        labels=np.array([number[label] for label in samples.labels], dtype=np.int64),
        class_names=tuple(names),
        own=np.array([SPLITS.index(name) if name else -1 for name in samples.own], dtype=np.int64),
        originals=np.array(
            [first.setdefault(content, index) for index, content in enumerate(contents)], dtype=np.int64
        ),
        signers=np.full(len(names), ""),
        group=None,
        groups=np.full(len(names), ""),
    )
    notes: list[str] = []
    rng = np.random.default_rng(seed % (1 << 63))
    held_out = (1.0 - train_ratio) / 2
    try:
        refuse_no_train(samples.own, samples.source, "leave the marks out")
        has_own = len(set(samples.own) - {""}) > 1
        parts = own_parts(clips, True, notes) if has_own else without_copies(clips, True, notes)
        missing = tuple(part for part in (VALIDATION, TEST) if not (parts == part).any())
        if missing:
            hold_out(parts, clips, missing, held_out * len(missing), rng, notes)
    except UserError as error:
        raise UserError(_in_words(str(error), samples.word)) from None
    counts = [int(np.count_nonzero(parts == part)) for part in (TRAIN, VALIDATION, TEST)]
    if not all(counts):
        raise UserError(
            f"{samples.source}: {_count(len(samples.items), samples.word)} of {len(names)} classes are too few to train, "
            "validate and test; most classes need three different ones or more"
        )
    unseen = np.setdiff1d(clips.labels[parts != DROPPED], clips.labels[parts == TRAIN])
    if len(unseen):
        notes.append(f"not in train, so never learned: {', '.join(names[label] for label in unseen[:5])}")
    rows = {name: np.flatnonzero(parts == part) for name, part in zip(SPLITS, (TRAIN, VALIDATION, TEST), strict=True)}
    return Labelled(
        splits={name: ([samples.items[row] for row in of.tolist()], clips.labels[of]) for name, of in rows.items()},
        class_names=tuple(names),
        shares=counts,
        notes=(*samples.notes, *(_in_words(note, samples.word) for note in notes)),
    )


def split_stretches(samples: Samples[str], *, train_ratio: float) -> Labelled[str]:
    """Return few long texts in splits: the beginning of each trains, what follows is validation, and the end is the test.

    Raises `UserError` for texts that are too short for it.
    """
    _check_ratio(train_ratio)
    found: dict[str, tuple[list[str], np.ndarray]] = {}
    for name, start, stop in zip(
        SPLITS, (0.0, train_ratio, (1 + train_ratio) / 2), (train_ratio, (1 + train_ratio) / 2, 1.0), strict=True
    ):
        parts = [text[int(start * len(text)) : int(stop * len(text))] for text in samples.items]
        parts = [part for part in parts if part]
        if not parts:
            raise UserError(f"{samples.source}: the text is too short to train, validate and test; give more of it")
        found[name] = parts, np.zeros(len(parts), np.int64)
    held_out = (1 - train_ratio) / 2
    return Labelled(
        splits=found,
        class_names=(),
        shares=(train_ratio, held_out, held_out),
        notes=(*samples.notes, "what is at the end of a text is validation and test"),
    )


def _check_ratio(train_ratio: float) -> None:
    check(0 < train_ratio < 1, "", "train_ratio", train_ratio, "between 0 and 1")


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _in_words(message: str, word: str) -> str:
    """Return a message on clips as one on what the samples are."""
    return re.sub(r"\bclip(s?)\b", rf"{word}\1", message)

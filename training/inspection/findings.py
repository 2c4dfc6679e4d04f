"""What an inspection finds: the data, the split that training would make of them, and the record that goes to JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..data.landmarks import SPLITS, LandmarkData
from ..data.specs import DataSpec
from ..data.splits.neighbours import near_duplicates
from ..data.splits.split import Splits, split
from ..data.understanding.summary import Understood, summarise
from ..data.understanding.understand import read_landmarks
from .hints import Hint, find_hints

INSPECTION_SCHEMA_VERSION = 1
MOST_PAIRS = 100
_BINS = 24


@dataclass(frozen=True, kw_only=True)
class SplitPart:
    """One of train, validation and test."""

    clips: int
    classes: int
    signers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SplitFound:
    """The split that training would make."""

    mode: str
    seed: int
    group: str | None
    """The kind of group that is kept together; None: each clip by itself."""
    parts: dict[str, SplitPart]
    dropped: int
    """Clips that are in none of them."""
    notes: tuple[str, ...]
    """What was decided, one sentence each."""
    warnings: tuple[str, ...]
    """Why the test may say more than is true, and what to do, one sentence each."""
    neighbour_share: float
    """The share of the test clips that stand beside training clips in the source and are nearly the same."""
    near_duplicates: tuple[NearDuplicate, ...]
    """Validation and test clips that are nearly the same as a training clip, the nearest first, at most 100."""


@dataclass(frozen=True, kw_only=True)
class NearDuplicate:
    """Two clips of different splits that are nearly the same."""

    split: str
    """Validation or test."""
    clip: str
    """The place of the clip in its source."""
    train_clip: str
    """The place of the training clip."""
    same_class: bool
    distance: float
    """0: the same; 1: as far from each other as two clips of a class mostly are."""


@dataclass(frozen=True, kw_only=True)
class Inspection(Understood):
    """What `slipway data inspect --json` prints."""

    schema_version: int
    sentence: str
    """What was understood, in one sentence."""
    lengths: dict[str, int]
    """A histogram of the clips' lengths: clips by the frames of their bin, such as `10-14`."""
    split: SplitFound
    say_otherwise: tuple[Hint, ...]
    """Options that make sense for these data if they were misunderstood."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Findings:
    """Data, their split, and the record of both."""

    data: LandmarkData
    splits: Splits
    record: Inspection


def inspect_data(spec: DataSpec, seed: int, given: dict[str, str]) -> Findings:
    """Return what is found in a data set; `given` are the flags that it was asked with. Raises `UserError`."""
    data = read_landmarks(spec.source, spec.reading)
    understood = summarise(data)
    splits = split(data, spec, seed=seed)
    found = SplitFound(
        mode=splits.mode,
        seed=seed,
        group=splits.group,
        parts={name: _part(data, getattr(splits, name)) for name in SPLITS},
        dropped=len(data) - sum(len(getattr(splits, name)) for name in SPLITS),
        notes=splits.notes,
        warnings=splits.warnings,
        neighbour_share=splits.neighbours.share,
        near_duplicates=tuple(_near_duplicates(data, splits)),
    )
    record = Inspection(
        **{field.name: getattr(understood, field.name) for field in dataclasses.fields(understood)},
        schema_version=INSPECTION_SCHEMA_VERSION,
        sentence=str(understood),
        lengths=_histogram(np.diff(data.offsets)),
        split=found,
        say_otherwise=tuple(find_hints(data, spec, splits, found.dropped, given)),
    )
    return Findings(data=data, splits=splits, record=record)


def _near_duplicates(data: LandmarkData, splits: Splits) -> Iterator[NearDuplicate]:
    in_test = set(splits.test.tolist())
    held_out = np.sort(np.concatenate([splits.validation, splits.test]))
    for pair in near_duplicates(data, splits.train, held_out, most=MOST_PAIRS):
        yield NearDuplicate(
            split="test" if pair.clip in in_test else "validation",
            clip=data.where(pair.clip),
            train_clip=data.where(pair.other),
            same_class=bool(data.labels[pair.clip] == data.labels[pair.other]),
            distance=pair.distance,
        )


def _histogram(lengths: np.ndarray) -> dict[str, int]:
    """Return the number of lengths in bins of equal whole width, at most `_BINS` of them."""
    low, high = int(lengths.min()), int(lengths.max())
    width = -(-(high - low + 1) // _BINS)
    counts = np.bincount((lengths - low) // width)
    starts = [low + width * number for number in range(len(counts))]
    names = [str(start) if width == 1 else f"{start}-{start + width - 1}" for start in starts]
    return dict(zip(names, counts.tolist(), strict=True))


def _part(data: LandmarkData, rows: np.ndarray) -> SplitPart:
    signers = data.signers
    return SplitPart(
        clips=len(rows),
        classes=len(np.unique(data.labels[rows])),
        signers=tuple(sorted({signers[row] for row in rows.tolist()} - {""})),
    )

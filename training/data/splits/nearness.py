"""How near clips are to each other: relative to two clips of the same class."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..landmarks import LandmarkData

_MOST_PAIRS = 2000
_FEWEST_PAIRS = 30
"""With fewer pairs nothing is concluded from their distances."""
_PARTNERS = 4
_FRAMES = 8
"""Frames of a clip that are compared, evenly spaced."""
_NUMBERS = 256
"""Numbers of a frame that are compared, evenly spaced."""
_PAIRS_AT_ONCE = 2048
_NEAR_QUANTILE = 0.05
_NEAR = (0.25, 0.35)
"""Clips are nearly the same at a distance that few random pairs have, within these bounds: repetitions by one person are
mostly farther from each other."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceOrder:
    """The clips of each class (and signer, where known) in the order of the source."""

    clips: np.ndarray
    """int64 [clips]: one class and signer after the other."""
    bounds: np.ndarray
    """int64 [strata + 1]: where each begins."""

    @classmethod
    def of(cls, data: LandmarkData) -> SourceOrder:
        """Return the order of a data set."""
        signers = np.unique(np.array(data.signers, dtype=np.str_), return_inverse=True)[1]
        clips = np.lexsort((np.arange(len(data)), signers, data.labels))
        changes = (np.diff(data.labels[clips]) != 0) | (np.diff(signers[clips]) != 0)
        return cls(clips=clips, bounds=np.array([0, *(np.flatnonzero(changes) + 1), len(clips)]))

    def neighbours(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all pairs of clips that follow each other, as two arrays [pairs]."""
        inner = np.ones(len(self.clips), dtype=bool)
        inner[self.bounds[1:] - 1] = False
        first = np.flatnonzero(inner)
        return self.clips[first], self.clips[first + 1]

    def any_pairs(self, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return random pairs of one class and signer that do not follow each other, at most `number`."""
        first = rng.integers(len(self.clips), size=number)
        stratum = np.searchsorted(self.bounds, first, side="right") - 1
        second = rng.integers(self.bounds[stratum], self.bounds[stratum + 1])
        apart = np.abs(first - second) > 1
        return self.clips[first[apart]], self.clips[second[apart]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Nearness:
    """A distance of clips: 1 is the median distance of two clips of the class (and signer, where known)."""

    columns: np.ndarray
    """The numbers of a frame that are compared."""
    mean: np.ndarray
    spread: np.ndarray
    unit: np.ndarray
    """The median distance in each class, [classes]."""
    near: float = 0.0
    """At less than this distance clips are nearly the same: few pairs of a class are so near."""
    next_are_near: float = 0.0
    """The share of clips that are near the next of their class in the source, less that of any two of a class."""

    @classmethod
    def of(cls, data: LandmarkData, order: SourceOrder) -> Nearness:
        """Measure a sample of the clips, always the same one."""
        rng = np.random.default_rng(0)
        first, second = order.neighbours()
        if len(first) > _MOST_PAIRS:
            chosen = np.sort(rng.choice(len(first), _MOST_PAIRS, replace=False))
            first, second = first[chosen], second[chosen]
        width = int(np.prod(data.values.shape[1:]))
        columns = np.unique(np.linspace(0, width - 1, min(width, _NUMBERS)).round().astype(np.int64))
        sample = _numbers(data, first if len(first) else np.arange(min(len(data), _MOST_PAIRS)), columns)
        known = np.maximum((~np.isnan(sample)).sum(axis=0), 1)
        mean = np.nansum(sample, axis=0) / known
        spread = np.sqrt(np.nansum((sample - mean) ** 2, axis=0) / known)
        plain = cls(
            columns=columns,
            mean=mean,
            spread=np.where(spread > 0, spread, 1.0),
            unit=np.ones(len(data.class_names)),
        )
        one, other = order.any_pairs(_PARTNERS * min(len(data), _MOST_PAIRS), rng)
        random = plain.distances(data, one, other)
        unit = np.full(len(data.class_names), np.median(random) if len(random) else 1.0)
        for label in np.unique(data.labels[one]):
            unit[label] = np.median(random[data.labels[one] == label])
        scaled = replace(plain, unit=np.where(unit > 0, unit, 1.0))
        if min(len(one), len(first)) < _FEWEST_PAIRS:
            return scaled
        random, following = random / scaled.unit[data.labels[one]], scaled.distances(data, first, second)
        near = float(np.clip(np.quantile(random, _NEAR_QUANTILE), *_NEAR))
        return replace(scaled, near=near, next_are_near=float((following < near).mean() - (random < near).mean()))

    def describe(self, data: LandmarkData, clips: np.ndarray) -> np.ndarray:
        """Return numbers [clips, n] whose Euclidean distance is that of the clips, not divided by the unit of a class."""
        numbers = (_numbers(data, clips, self.columns) - self.mean) / self.spread
        return np.nan_to_num(numbers, copy=False).reshape(len(clips), -1)

    def distances(self, data: LandmarkData, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the distances of pairs of clips, [pairs]."""
        found = np.empty(len(first))
        for start in range(0, len(first), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            gap = self.describe(data, first[part]) - self.describe(data, second[part])
            found[part] = np.sqrt((gap**2).sum(axis=1))
        return found / self.unit[data.labels[first]]


def _numbers(data: LandmarkData, clips: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return some numbers of some frames of clips, float64 [clips, frames, columns]."""
    frames = min(_FRAMES, int(np.diff(data.offsets).max()))
    last = np.diff(data.offsets)[clips] - 1
    rows = data.offsets[clips][:, None] + np.outer(last, np.linspace(0, 1, frames)).round().astype(np.int64)
    return data.values.reshape(len(data.values), -1)[rows[..., None], columns].astype(np.float64)

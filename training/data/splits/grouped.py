"""Division of groups of clips, so that each class comes near its share in each part."""

from __future__ import annotations

import itertools

import numpy as np

_MOST_DRAWS = 16
_MOST_ASSIGNMENTS = 20_000
"""Assignments of a group that all draws together try."""
_CANDIDATES = 50


def assign_groups(
    group: np.ndarray, labels: np.ndarray, shares: list[float], rng: np.random.Generator, *, kept: int = 1
) -> np.ndarray:
    """Return a part for each clip, [clips], that is the same for all clips of one group, a number from 0.

    `shares` of the clips are wanted in each part. If they differ, the first part is the training and the others are held
    out: each class comes into each of them, the last part first, as long as `kept` groups of it are left and most clips of
    the group are of classes that the part lacks. The others are given out from large to small, each to the part whose
    classes lack it most. Of some random divisions the one nearest to the shares is taken.
    """
    groups = _Groups(group, labels)
    draws = max(1, min(_MOST_DRAWS, _MOST_ASSIGNMENTS // max(1, len(groups.sizes))))
    found = [groups.draw(shares, rng, kept) for _ in range(draws)]
    return min(found, key=lambda one: one[0])[1][group]


class _Groups:
    def __init__(self, group: np.ndarray, labels: np.ndarray) -> None:
        pairs, counts = np.unique(np.stack([group, labels], axis=1), axis=0, return_counts=True)
        self.sizes = np.bincount(group)
        self.classes = np.bincount(labels)
        bounds = np.searchsorted(pairs[:, 0], np.arange(len(self.sizes) + 1))
        self.labels = [pairs[start:stop, 1] for start, stop in itertools.pairwise(bounds)]
        self.counts = [counts[start:stop] for start, stop in itertools.pairwise(bounds)]
        self.groups_of_class = np.bincount(pairs[:, 1], minlength=len(self.classes))
        by_class = pairs[np.argsort(pairs[:, 1], kind="stable")]
        self.members = np.split(by_class[:, 0], np.cumsum(self.groups_of_class)[:-1])

    def draw(self, shares: list[float], rng: np.random.Generator, kept: int) -> tuple[float, np.ndarray]:
        """Return how far one random division is from the shares, and the part of each group."""
        has_training = len(set(shares)) > 1
        parts = np.full(len(self.sizes), -1)
        room = np.outer(shares, self.classes).astype(np.float64)
        weight = 1.0 / np.maximum(self.classes, 1)
        left = self.groups_of_class.copy()

        def lack(group: int) -> np.ndarray:
            labels, counts = self.labels[group], self.counts[group]
            return ((room[:, labels] - counts / 2) * (counts * weight[labels])).sum(axis=1)

        def give(group: int, part: int) -> None:
            parts[group] = part
            room[part, self.labels[group]] -= self.counts[group]
            left[self.labels[group]] -= 1

        if has_training:
            for part in range(len(shares) - 1, 0, -1):
                has = np.zeros(len(left), dtype=bool)
                for label in rng.permutation(len(left)).tolist():
                    if has[label] or left[label] <= kept:
                        continue
                    free = self.members[label][parts[self.members[label]] < 0]
                    free = free if len(free) <= _CANDIDATES else rng.choice(free, _CANDIDATES, replace=False)
                    rank = {
                        group: (np.count_nonzero(left[self.labels[group]] <= kept), -lack(group)[part], rng.random())
                        for group in free.tolist()
                        if self.counts[group] @ has[self.labels[group]] <= self.sizes[group] / 2
                    }
                    if rank:
                        best = min(rank, key=lambda group: rank[group])
                        give(best, part)
                        has[self.labels[best]] = True
        for group in np.argsort(-self.sizes * rng.uniform(0.8, 1.25, len(parts))).tolist():
            if parts[group] < 0:
                lacking = lack(group)
                give(group, int(rng.choice(np.flatnonzero(lacking >= lacking.max() - 1e-9))))
        unseen = has_training * np.count_nonzero((room[0] >= shares[0] * self.classes) & (self.classes > 0))
        return float((room**2 * weight).sum() + unseen * self.sizes.sum()), parts

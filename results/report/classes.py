"""Classes of a run: which was said for which, and how well each is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..common.values import is_count, items, text

Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """How well a class is known."""

    name: str
    samples: int
    said: int
    """How often it was said, rightly or not."""
    right: int
    taken_for: str
    """The class that is most often said in its place; empty if none is."""

    @property
    def recall(self) -> float | None:
        """The share of its samples for which it was said; None without samples."""
        return self.right / self.samples if self.samples else None

    @property
    def precision(self) -> float | None:
        """The share of what was said to be it that is it; None if it was never said."""
        return self.right / self.said if self.said else None

    @property
    def f1(self) -> float | None:
        """2 right / (samples + said): the harmonic mean of both; None without samples."""
        return 2 * self.right / (self.samples + self.said) if self.samples else None


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often which class was said for which."""

    split: str
    names: Sequence[str]
    counts: Mapping[Pair, int]
    """By (right class, said class)."""

    @property
    def samples(self) -> int:
        """The samples of the split."""
        return sum(self.counts.values())

    @property
    def mistakes(self) -> int:
        """The samples for which another class was said."""
        return sum(count for (right, said), count in self.counts.items() if right != said)

    def name(self, number: int) -> str:
        """Return the name of a class."""
        return self.names[number] if 0 <= number < len(self.names) else str(number)

    def pairs(self) -> list[tuple[str, str, int]]:
        """Return (right class, said class, samples) of the mistakes, the most frequent first."""
        wrong = [(right, said, count) for (right, said), count in self.counts.items() if right != said]
        return [
            (self.name(right), self.name(said), count)
            for right, said, count in sorted(wrong, key=lambda one: (-one[2], one))
        ]

    def rows(self) -> list[ClassRow]:
        """Return the classes that occur, the least known first."""
        samples, said, right = Counter[int](), Counter[int](), Counter[int]()
        taken: dict[int, tuple[int, int]] = {}
        for (label, answer), count in self.counts.items():
            samples[label] += count
            said[answer] += count
            if label == answer:
                right[label] += count
            elif count > taken.get(label, (0, 0))[0]:
                taken[label] = (count, answer)
        found = [
            ClassRow(
                name=self.name(one),
                samples=samples[one],
                said=said[one],
                right=right[one],
                taken_for=self.name(taken[one][1]) if one in taken else "",
            )
            for one in sorted(samples | said)
        ]
        return sorted(found, key=lambda row: (row.f1 is None, row.f1 or 0.0))

    def worst_classes(self, most: int) -> list[int]:
        """Return at most so many classes in the order of their numbers: those with the most mistakes, of either side."""
        wrong, all_of = Counter[int](), Counter[int]()
        for (right, said), count in self.counts.items():
            for one in (right, said):
                all_of[one] += count
                wrong[one] += count if right != said else 0
        ranked = sorted(all_of, key=lambda one: (-wrong[one], one))
        return sorted(ranked[:most])


def read_confusion(answers: Mapping[str, Any], result: Mapping[str, Any], names: Sequence[str]) -> Confusion | None:
    """Return how often which class was said for which: from what the run kept of its answers, or from its result."""
    own_names = [str(name) for name in items(answers, "class_names")] or list(names)
    counts = {(row[0], row[1]): row[2] for row in items(answers, "confusion") if _are_counts(row, 3)}
    if counts:
        return Confusion(split=text(answers, "split"), names=own_names, counts=counts)
    for split in ("test", "validation"):
        matrix = items(result, f"{split}_confusion_matrix")
        if matrix and all(_are_counts(row, len(matrix)) for row in matrix):
            counts = {
                (right, said): count for right, row in enumerate(matrix) for said, count in enumerate(row) if count
            }
            if counts:
                return Confusion(split=split, names=own_names, counts=counts)
    return None


def _are_counts(row: Any, length: int) -> bool:
    return isinstance(row, list) and len(row) == length and all(is_count(one) for one in row)

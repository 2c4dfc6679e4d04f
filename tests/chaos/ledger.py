"""What a run that was killed has trained on, from its journal and from the books of its ranks: nothing lost, nothing twice.

Written apart from the project's own reader of the journal, which it would otherwise take at its word.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step that the final weights come from."""

    number: int
    """In the run, from 1."""
    epoch: int
    step_in_epoch: int
    attempt: int
    """Which `run` event of the journal it stands behind, from 0: a start of the run, or a restart."""
    samples_per_rank: tuple[int, ...]
    first_sample_per_rank: tuple[int, ...]
    """How many samples each rank had computed in this attempt before."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found along the lineage of the final weights."""

    num_lost: int
    num_duplicated: int
    problems: tuple[str, ...]
    batches: dict[tuple[int, int], list[int]] = field(repr=False)
    """The samples of each (epoch, step in epoch), sorted."""
    steps_by_processes: dict[int, int]


def read_events(journal: Path) -> list[dict[str, Any]]:
    """Return the events of a journal, without a torn last line. Raises `ValueError` for any other line that is torn."""
    *lines, tail = journal.read_bytes().split(b"\n")
    events = [json.loads(line) for line in lines]
    try:
        return [*events, json.loads(tail)]
    except ValueError:
        return events


def lineage(events: Sequence[dict[str, Any]]) -> list[Step]:
    """Return the steps that the last weights come from: a `resume` supersedes every step after its own."""
    steps: list[Step] = []
    attempt = -1
    computed: tuple[int, ...] = ()
    for event in events:
        if event["event"] == "run":
            attempt, computed = attempt + 1, ()
        elif event["event"] in ("resume", "rewind"):
            steps = [step for step in steps if step.number <= event["step"]]
        elif event["event"] == "step":
            counts = tuple(event["samples_per_rank"])
            computed = computed or (0,) * len(counts)
            steps.append(
                Step(
                    number=event["step"],
                    epoch=event["epoch"],
                    step_in_epoch=event["step_in_epoch"],
                    attempt=attempt,
                    samples_per_rank=counts,
                    first_sample_per_rank=computed,
                )
            )
            computed = tuple(before + count for before, count in zip(computed, counts, strict=True))
    return steps


def read_book(path: Path) -> list[int]:
    """Return the samples that a rank computed, in order."""
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def audit(
    steps: Sequence[Step], books: Sequence[Sequence[Path]], *, num_steps: int, num_epochs: int, num_samples: int
) -> Audit:
    """Compare the steps of a lineage with what is due: steps 1 to `num_steps`, each sample of the split once an epoch.

    `books` are the books of each attempt, by rank: the samples are those that were computed, not those that were due.
    """
    problems = _problems(steps, num_steps, num_samples)
    batches: dict[tuple[int, int], list[int]] = {}
    seen: dict[int, Counter[int]] = {}
    read: dict[Path, list[int]] = {}
    by_processes: Counter[int] = Counter()
    for step in steps:
        batch: list[int] = []
        for rank, (first, count) in enumerate(zip(step.first_sample_per_rank, step.samples_per_rank, strict=True)):
            path = books[step.attempt][rank]
            if path not in read:
                read[path] = read_book(path)
            batch += read[path][first : first + count]
        batches[step.epoch, step.step_in_epoch] = sorted(batch)
        seen.setdefault(step.epoch, Counter()).update(batch)
        by_processes[len(step.samples_per_rank)] += 1
    return Audit(
        num_lost=sum(num_samples - len(seen.get(epoch, ())) for epoch in range(num_epochs)),
        num_duplicated=sum(counted.total() - len(counted) for counted in seen.values()),
        problems=tuple(problems),
        batches=batches,
        steps_by_processes=dict(by_processes),
    )


def _problems(steps: Sequence[Step], num_steps: int, num_samples: int) -> list[str]:
    problems = []
    numbers = [step.number for step in steps]
    if numbers != list(range(1, num_steps + 1)):
        missing = sorted(set(range(1, num_steps + 1)) - set(numbers))
        twice = sorted(number for number, count in Counter(numbers).items() if count > 1)
        problems.append(
            f"the lineage is not steps 1 to {num_steps}: missing {missing}, twice {twice}, of {len(numbers)}"
        )
    positions = [(step.epoch, step.step_in_epoch) for step in steps]
    if positions != sorted(set(positions)):
        problems.append("the lineage does not go through the epochs in order, each step once")
    per_epoch: Counter[int] = Counter()
    for step in steps:
        per_epoch[step.epoch] += sum(step.samples_per_rank)
    uneven = {epoch: count for epoch, count in per_epoch.items() if count != num_samples}
    if uneven:
        problems.append(f"samples of an epoch in the journal are not {num_samples}: {uneven}")
    return problems

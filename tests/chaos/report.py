"""The table of the chaos suite: what was killed where, and what it changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.chaos.scenario import Found

_TARGETS = ("rank", "launcher", "agent", "everything")
_MOMENTS = ("inside a save", "as a save ends", "while resuming", "between")


def table(found: Sequence[Found]) -> str:
    """Return a line for each scenario and one for all kills."""
    heading = ["signal", "run", "sent", *_TARGETS, *_MOMENTS, "lost", "twice", "weights", ""]
    rows = [heading, *map(_row, found)]
    kills = [one for one in found if one.signal == "SIGKILL"]
    if kills:
        rows.append(["SIGKILL", "all", *_counts(kills), *_sums(kills), "", ""])
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
    left = {0, 1, len(heading) - 2, len(heading) - 1}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def totals(found: Sequence[Found]) -> dict[str, Any]:
    """Return the figures that a reader asks for first."""
    kills = [one for one in found if one.signal == "SIGKILL"]
    every = [kill for one in kills for kill in one.kills]
    changed = [one.difference for one in found if one.scenario.is_changed]
    return {
        "kills": len(every),
        "kills_by_target": dict(Counter(kill.target.split()[0] for kill in every)),
        "kills_by_moment": dict(Counter(kill.moment for kill in every)),
        "kills_by_processes": dict(sorted(Counter(kill.world_size for kill in every).items())),
        "not_counted": sum(one.num_misses for one in kills),
        "stops": sum(len(one.kills) for one in found if one.signal != "SIGKILL"),
        "identical": all(one.is_identical for one in found if not one.scenario.is_changed),
        "worst_difference_of_a_changed_number_of_processes": max(changed, default=0.0),
        "samples_lost": sum(one.num_lost for one in found),
        "samples_trained_twice": sum(one.num_duplicated for one in found),
        "slowest_end_seconds": max((kill.seconds_until_gone for one in found for kill in one.kills), default=0.0),
    }


def _row(one: Found) -> list[str]:
    weights = "identical" if one.is_identical else f"{one.difference:.1e}"
    return [one.signal, one.scenario.name, *_counts([one]), *_sums([one]), weights, "FAILED" if one.problems else ""]


def _counts(found: Sequence[Found]) -> list[str]:
    kills = [kill for one in found for kill in one.kills]
    targets = Counter(kill.target.split()[0] for kill in kills)
    moments = Counter(kill.moment for kill in kills)
    counts = [len(kills), *(targets[name] for name in _TARGETS), *(moments[name] for name in _MOMENTS)]
    return [str(count or "") for count in counts]


def _sums(found: Sequence[Found]) -> list[str]:
    return [str(sum(one.num_lost for one in found)), str(sum(one.num_duplicated for one in found))]

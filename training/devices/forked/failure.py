"""Why ranks ended before their work was done, as one exception."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...common.errors import TrainingFailed, UserError
from ...common.program.streams import print_to_stderr
from ..interruption import Interrupted, Quit, how_to_resume

_WITHOUT_BLAME = ("interrupted", "quit")


@dataclass(frozen=True, kw_only=True)
class End:
    """How a rank ended."""

    rank: int
    status: int
    """Exit code; negative: the signal that ended it."""
    was_killed: bool
    """By the process that follows it."""
    told: Mapping[str, Any]
    """The error, as the rank told it; empty: it told none."""
    output: str
    """The last of what it printed, where nobody has seen that yet."""


def failure_of(ends: Sequence[End], folder: Path | None) -> BaseException:
    """Return what ended the ranks, which are in the order of their ends: the first cause, not what followed from it.

    `folder` is that of the run, where it has one. The stack of an unexpected error is printed to stderr.
    """
    after = "" if folder is None else f"; go on from its last checkpoint with {how_to_resume(folder)}"
    for end in ends:
        if end.status < 0 and not end.was_killed:
            name = signal.Signals(-end.status).name
            why = ", perhaps for want of memory" if name == "SIGKILL" else ""
            _print(end, end.output)
            return TrainingFailed(f"rank {end.rank} was ended by {name}{why}{after}")
    told = [end for end in ends if end.told]
    blamed = [end for end in told if end.told["error"] not in _WITHOUT_BLAME]
    silent = [end for end in ends if not end.told and end.status > 0]
    if silent and all(end.told.get("lost_peer") for end in blamed):
        end = silent[0]
        _print(end, end.output)
        return TrainingFailed(f"rank {end.rank} ended with exit code {end.status}{after}")
    if not blamed:
        if not told or any(end.told["error"] == "quit" for end in told):
            return Quit("interrupted: what was not saved is lost")
        stopped = min(told, key=lambda end: end.rank).told
        return Interrupted(stopped["message"], stopped["folder"])
    end = _first_cause(blamed)
    error = end.told
    message = error["message"]
    if error["error"] == "user":
        return UserError(f"rank {end.rank}: {message}" if error["is_alone"] else message, option=error["option"])
    if error["error"] == "failed":
        return TrainingFailed(f"rank {end.rank}: {message}" if error["is_alone"] else message)
    _print(end, f"{end.output}{error['stack']}")
    first = " ".join(message.split())[:300]
    return TrainingFailed(f"rank {end.rank} ended with {error['name']}: {first}{after}")


def _first_cause(ends: Sequence[End]) -> End:
    """Return the end that explains the others; rank 0's where all ranks failed alike."""
    causes = [end for end in ends if not end.told.get("lost_peer")] or list(ends)
    first = next((end for end in causes if end.told.get("is_alone")), causes[0])
    return next((end for end in causes if end.rank == 0 and end.told["message"] == first.told["message"]), first)


def _print(end: End, text: str) -> None:
    lines = text.rstrip("\n").splitlines()
    print_to_stderr("".join(f"rank {end.rank} | {line}\n" for line in lines), end="", as_it_is=True)

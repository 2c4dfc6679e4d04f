"""How a group of processes ended, and which rank failed first. Pure."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ....training.common.errors import EXIT_RESUMABLE
from ..state_files import RankState

_AT_ONCE_SECONDS = 3.0

Failure = Literal["exception", "lost peer", "exit", "signal", "agent", "agent signal", "lost machine"]
_AGENT = "the agent that starts the ranks"
_LONGEST_ERROR = 160  # characters


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a group of processes ended. `failed_rank` failed first; None where no rank failed, or only the agent."""

    exit_code: int
    stopped_by: int | None = None  # the signal that asked the launcher to stop
    failed_rank: int | None = None
    failure: Failure | None = None
    code: int = 0  # the exit code of that rank or the agent, or the number of the signal that ended it
    error: str = ""  # the last line of its traceback
    last_lines: tuple[str, ...] = ()
    log: str = ""
    num_processes: int = 1  # of this machine
    num_killed: int = 0  # processes that did not end within the grace time
    host: str = ""  # where that rank was, with several machines
    ended_for_others: bool = False  # this machine was ended since another one had failed before


@dataclass(frozen=True, kw_only=True)
class RankEnd:
    """How one rank ended, and when (seconds since 1970): the last time it was seen where it wrote no time itself."""

    rank: int
    exit_code: int  # minus the signal's number where a signal ended it
    at: float
    state: RankState | None

    @property
    def is_consequence(self) -> bool:
        """Return whether it ended because another rank did: it lost its peer, or the agent ended it."""
        return self.exit_code == -signal.SIGTERM or (self.state is not None and self.state.lost_peer)


def failed_rank_ends(
    states: Mapping[int, RankState], seen_at: Mapping[int, float], real_codes: Mapping[int, int]
) -> list[RankEnd]:
    """Return the end of each rank that failed or asks to be resumed (75).

    The exit code that a rank wrote itself counts. Where it wrote none, or 0 and died later, the code that its parent saw
    counts, and 1 where the parent saw none.
    """
    found = []
    for rank in sorted({*states, *real_codes}):
        state = states.get(rank)
        written = state.exit_code if state else None
        code = written or real_codes.get(rank, 1 if written is None else 0)
        if code:
            at = state.ended_at if state and written and state.ended_at else seen_at.get(rank, 0.0)
            found.append(RankEnd(rank=rank, exit_code=code, at=at, state=state))
    return found


def first_failure(ends: Iterable[RankEnd]) -> RankEnd | None:
    """Return the rank that failed first and not because of another one; else the one that ended first.

    Where all fail at once with the same exit code and no traceback, as on wrong input, it is rank 0, whose output is
    on the terminal.
    """
    failed = sorted(ends, key=lambda end: (end.exit_code == EXIT_RESUMABLE, end.is_consequence, end.at))
    if not failed:
        return None
    first = failed[0]
    same = [end for end in failed if end.rank == 0 and end.exit_code == first.exit_code > 0]
    if same and not _has_error(first) and not _has_error(same[0]) and same[0].at - first.at < _AT_ONCE_SECONDS:
        return same[0]
    return first


def _has_error(end: RankEnd) -> bool:
    return end.state is not None and end.state.error is not None


def shell_code(exit_code: int) -> int:
    """Return the exit code of a shell: 128 + N for signal N."""
    return 128 - exit_code if exit_code < 0 else exit_code


def all_resumable(states: Mapping[int, RankState], num_processes: int) -> bool:
    """Return whether every process of this machine ended with 75, to be resumed."""
    return len(states) == num_processes and all(state.exit_code == EXIT_RESUMABLE for state in states.values())


def format_outcome(outcome: Outcome) -> list[str]:
    """Return the lines that tell a person how a group ended; none where it ended well."""
    killed = (
        f"; {format_count(outcome.num_killed, 'process', 'processes')} had to be killed" if outcome.num_killed else ""
    )
    if outcome.stopped_by is not None:
        resumable = ", resumable" if outcome.exit_code == EXIT_RESUMABLE else ""
        return [f"stopped by {signal.Signals(outcome.stopped_by).name}{resumable}{killed}"]
    if outcome.failure is None:
        return ["stopped, resumable"] if outcome.exit_code == EXIT_RESUMABLE else []
    where = f" on {outcome.host}" if outcome.host else ""
    if outcome.failure == "lost machine":
        return [f"{failed_rank_error(outcome)}{killed}"]
    if outcome.failure == "agent":
        return [f"no process was started{where}; the log of {_AGENT}, {outcome.log}, ends:", *outcome.last_lines]
    # The output of rank 0 is on the terminal already, or where it was redirected.
    lines = () if outcome.failed_rank == 0 else outcome.last_lines
    name = failed_rank_name(outcome)
    failed = "failed" if name is None else f"{name} failed first"
    killed_hard = outcome.failure in ("signal", "agent signal") and outcome.code == signal.SIGKILL
    hint = " (as the kernel does when memory runs out)" if killed_hard else ""
    return [f"{failed}: {failed_rank_error(outcome)}{hint}{killed}; log{where} {outcome.log}", *lines]


def failed_rank_name(outcome: Outcome) -> str | None:
    """Return the name of what failed first, such as `rank 3`; None where there is only one process."""
    where = f" on {outcome.host}" if outcome.host else ""
    if outcome.failure == "lost machine":
        return outcome.error
    if outcome.failed_rank is None:
        return f"{_AGENT}{where}"
    alone = outcome.num_processes == 1 and outcome.failed_rank == 0 and not where
    return None if alone else f"rank {outcome.failed_rank}{where}"


def failed_rank_error(outcome: Outcome) -> str:
    """Return in a few words why it failed."""
    if outcome.failure == "agent":
        return "no process was started"
    if outcome.failure == "lost machine":
        return f"{outcome.error} is gone: its launcher was killed, or it cannot be reached any more"
    if outcome.failure in ("signal", "agent signal"):
        return f"killed by {_signal_name(outcome.code)}"
    if outcome.failure == "exit":
        return f"exit code {outcome.code}"
    long = len(outcome.error) > _LONGEST_ERROR
    error = f"{outcome.error[:_LONGEST_ERROR]}..." if long else outcome.error
    return f"another process went away ({error})" if outcome.failure == "lost peer" else error


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def format_count(count: int, one: str, several: str) -> str:
    """Return `1 process` or `2 processes`."""
    return f"{count} {one if count == 1 else several}"

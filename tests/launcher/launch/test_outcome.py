"""Which rank is to blame, and what a person is told."""

from __future__ import annotations

import signal

import pytest

from slipway.launcher.launch.state_files import RankState
from slipway.launcher.launch.supervise.outcome import (
    Outcome,
    RankEnd,
    all_resumable,
    failed_rank_ends,
    first_failure,
    format_outcome,
    shell_code,
)


def state(
    rank: int, exit_code: int | None = None, at: float = 0.0, error: str | None = None, **more: bool
) -> RankState:
    return RankState(
        rank=rank, local_rank=rank, pid=1, started_at=0.0, exit_code=exit_code, ended_at=at or None, error=error, **more
    )


def blamed(*states: RankState, seen_at: dict[int, float] | None = None, real: dict[int, int] | None = None) -> RankEnd:
    found = first_failure(failed_rank_ends({one.rank: one for one in states}, seen_at or {}, real or {}))
    assert found is not None
    return found


def test_the_earliest_failure_is_to_blame() -> None:
    first = blamed(state(0, 1, 5.0, "ValueError: late"), state(1, 1, 4.0, "ValueError: early"), real={0: 1, 1: 1})
    assert (first.rank, first.exit_code) == (1, 1)


def test_who_lost_a_peer_or_was_ended_by_the_agent_is_not_to_blame() -> None:
    peer = state(0, 1, 3.0, "RuntimeError: Connection closed by peer", lost_peer=True)
    assert blamed(peer, state(1), seen_at={1: 3.1}, real={0: 1, 1: -signal.SIGSEGV}).rank == 1
    assert blamed(state(0), state(1, 42, 3.0), seen_at={0: 2.9}, real={0: -signal.SIGTERM, 1: 42}).rank == 1
    assert blamed(state(0, 75, 1.0), state(1, 1, 2.0, "x")).rank == 1


def test_a_rank_that_says_0_and_dies_later_has_died() -> None:
    first = blamed(state(0, 0, 1.0), seen_at={0: 2.0}, real={0: -signal.SIGABRT})
    assert shell_code(first.exit_code) == 134


def test_a_rank_that_vanished_without_a_word_is_a_failure() -> None:
    assert blamed(state(0), seen_at={0: 1.0}).exit_code == 1
    assert first_failure(failed_rank_ends({0: state(0, 0, 1.0)}, {}, {})) is None


def test_rank_0_speaks_for_ranks_that_fail_alike_without_a_traceback() -> None:
    assert blamed(state(0, 2, 4.0), state(1, 2, 3.0)).rank == 0
    assert blamed(state(0, 1, 4.0, "KeyError: 1"), state(1, 1, 3.0, "KeyError: 0")).rank == 1
    assert blamed(state(0, 2, 40.0), state(1, 2, 3.0)).rank == 1


def test_a_run_is_resumable_where_every_process_said_so() -> None:
    both = {0: state(0, 75), 1: state(1, 75)}
    assert all_resumable(both, 2)
    assert not all_resumable(both, 3)
    assert not all_resumable({**both, 1: state(1, 0)}, 2)


@pytest.mark.parametrize(
    ("outcome", "lines"),
    [
        (Outcome(exit_code=0), []),
        (Outcome(exit_code=75), ["stopped, resumable"]),
        (Outcome(exit_code=143, stopped_by=15), ["stopped by SIGTERM"]),
        (
            Outcome(exit_code=139, failed_rank=0, failure="signal", code=11, log="x", last_lines=("seen",)),
            ["failed: killed by SIGSEGV; log x"],
        ),
        (
            Outcome(exit_code=1, failed_rank=1, failure="exit", code=1, log="x", num_processes=2, last_lines=("y",)),
            ["rank 1 failed first: exit code 1; log x", "y"],
        ),
        (
            Outcome(exit_code=1, failed_rank=1, failure="lost peer", code=1, error="E: " + "x" * 200, log="x"),
            [f"rank 1 failed first: another process went away (E: {'x' * 157}...); log x"],
        ),
        (
            Outcome(exit_code=163, failed_rank=0, failure="signal", code=35, log="x", num_killed=1),
            ["failed: killed by signal 35; 1 process had to be killed; log x"],
        ),
    ],
)
def test_what_a_person_is_told(outcome: Outcome, lines: list[str]) -> None:
    assert format_outcome(outcome) == lines

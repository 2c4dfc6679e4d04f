"""Launchers of several machines while they run: they end with the same outcome, and start again together."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from slipway.launcher.hosts.meeting.met import Met
from slipway.launcher.hosts.wire import Wire
from slipway.launcher.launch.supervise.outcome import Outcome, format_outcome
from slipway.launcher.launch.supervise.peers import Together

HOSTS = {0: "alpha", 1: "beta", 2: "gamma"}
WELL = Outcome(exit_code=0)
FAILED = Outcome(exit_code=1, failed_rank=1, failure="exception", code=1, error="ValueError: no", log="rank_1.log")
LOST_PEER = Outcome(exit_code=1, failed_rank=0, failure="lost peer", code=1, error="Connection closed by peer")
KILLED = Outcome(exit_code=137, failed_rank=2, failure="signal", code=9, ended_for_others=True)


@pytest.fixture
def machines() -> Iterator[list[Together]]:
    """Return three machines that have met."""
    first: dict[int, Wire] = {}
    others = []
    for rank in (1, 2):
        one, other = socket.socketpair()
        first[rank] = Wire(one)
        others.append(Together(Met(rank=rank, hosts=HOSTS, wires={0: Wire(other)}, address="")))
    found = [Together(Met(rank=0, hosts=HOSTS, wires=first, address="")), *others]
    yield found
    for machine in found:
        machine.close()


def agreed(machines: list[Together], *outcomes: Outcome) -> list[Outcome]:
    """Have all machines end, the first one last, and return what each of them knows then."""
    others = list(zip(machines, outcomes, strict=True))[1:]
    for machine, outcome in others:
        machine.agree(outcome, lambda: False)  # tells it and does not wait
    first = machines[0].agree(outcomes[0], lambda: True)
    return [first, *(machine.agree(outcome, lambda: True) for machine, outcome in others)]


def test_all_that_end_well_agree_on_it(machines: list[Together]) -> None:
    assert {one.exit_code for one in agreed(machines, WELL, WELL, WELL)} == {0}


def test_the_failure_that_is_not_of_another_machine_is_told_on_all(machines: list[Together]) -> None:
    for one in agreed(machines, LOST_PEER, FAILED, KILLED):
        assert (one.host, one.error) == ("beta", "ValueError: no")
        assert format_outcome(one)[0] == "rank 1 on beta failed first: ValueError: no; log on beta rank_1.log"


def test_a_machine_that_fails_ends_the_others(machines: list[Together]) -> None:
    machines[2].say_failed()
    for machine in machines[:2]:
        machine.poll()
        assert machine.is_ending
    assert not machines[2].is_ending


def test_a_signal_on_one_machine_stops_all(machines: list[Together]) -> None:
    machines[1].say_stopped(15)
    for machine in (machines[0], machines[2]):
        machine.poll()
        assert machine.stopped_by == 15
    stopped = Outcome(exit_code=75, stopped_by=15)
    assert {one.exit_code for one in agreed(machines, stopped, stopped, stopped)} == {75}


def test_a_machine_that_is_gone_is_named(machines: list[Together]) -> None:
    machines[2].close()
    machines[0].poll()
    machines[1].poll()
    assert machines[1].is_ending
    machines[1].agree(KILLED, lambda: False)
    outcome = machines[0].agree(LOST_PEER, lambda: True)
    assert format_outcome(outcome) == [
        "machine 2 (gamma) is gone: its launcher was killed, or it cannot be reached any more"
    ]
    assert machines[0].decide(None, lambda: True) == "machine 2 (gamma) is gone"


def test_all_start_again_where_machine_0_says_so_though_its_words_arrive_at_once(machines: list[Together]) -> None:
    for machine in machines[1:]:
        machine.agree(FAILED, lambda: False)
    machines[0].agree(WELL, lambda: True)
    assert machines[0].decide(None, lambda: True) is None
    machines[0].say_failed()  # in the next start, before the others have heard of it
    for machine in machines[1:]:
        assert machine.agree(FAILED, lambda: True).failure == "exception"
        assert machine.decide("has its own view", lambda: True) is None
        assert not machine.is_ending
        machine.poll()
        assert machine.is_ending


def test_no_restart_where_machine_0_gives_up(machines: list[Together]) -> None:
    agreed(machines, WELL, FAILED, WELL)
    assert machines[0].decide("twice the same", lambda: True) == "twice the same"
    assert [machine.decide(None, lambda: True) for machine in machines[1:]] == ["twice the same"] * 2

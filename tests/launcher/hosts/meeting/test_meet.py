"""Launchers of several machines meet before any of them starts a script; here all are on loopback."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time

import pytest

from slipway.launcher.common.ports import free_port
from slipway.launcher.hosts.meeting import met
from slipway.launcher.hosts.meeting.meet import meet
from slipway.launcher.hosts.meeting.met import Met
from slipway.launcher.hosts.member import member_of
from slipway.launcher.hosts.network import Door
from slipway.launcher.plan.make_plan import make_plan
from slipway.launcher.plan.records import Intent
from slipway.training.common.errors import UserError
from tests.launcher.machines import machines

HOSTS = ("alpha", "beta", "gamma")
MACHINE = machines()["m2"]


class Machine(threading.Thread):
    """A launcher that goes to the meeting."""

    def __init__(self, rank: int, count: int, port: int, host: str | None = None, **intent: object) -> None:
        super().__init__(daemon=True)
        fixed = Intent(
            device="cpu",
            num_machines=count,
            machine_rank=rank,
            main_process_ip="127.0.0.1",
            **intent,  # type: ignore[arg-type]
        )
        self.door = Door()
        member = member_of(make_plan(MACHINE, fixed), ["-m", "x"], 0, port=self.door.port)
        self.member = dataclasses.replace(member, host=host or HOSTS[rank])
        self.port = port
        self.said: list[str] = []
        self.met: Met | None = None
        self.error = ""

    def run(self) -> None:
        try:
            self.met = meet(self.member, self.door, "127.0.0.1", self.port, self.said.append)
        except UserError as error:
            self.error = str(error)


def all_of(*machines: Machine) -> list[str]:
    """Start machines and return how each ended: with an error, or nothing."""
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join(30)
        assert not machine.is_alive()
    for machine in machines:
        for wire in machine.met.wires.values() if machine.met else ():
            wire.close()
    return [machine.error for machine in machines]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_machines_that_start_in_any_order_know_each_other(order: tuple[int, ...]) -> None:
    port = free_port()
    machines = [Machine(rank, 3, port) for rank in order]
    assert all_of(*machines) == ["", "", ""]
    for machine in machines:
        assert machine.met is not None
        assert machine.met.hosts == dict(enumerate(HOSTS))
        assert machine.met.address == "127.0.0.1"


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ({"num_processes": 4}, "machine 1 (beta) differs from machine 0 (alpha): --num-processes 4, there 2: start"),
        ({"count": 3}, "--num-machines 3, there 2"),
        ({"mixed_precision": "bf16"}, "--mixed-precision bf16, there no"),
        ({"processes_per_host": (2, 1)}, "--processes-per-host 2,1, there (none)"),
    ],
)
def test_a_machine_that_does_not_fit_is_named_on_all(second: dict[str, object], sentence: str) -> None:
    port = free_port()
    settings = {"rank": 1, "count": 2, "port": port, "host": "beta", **second}
    first, other = all_of(Machine(0, 2, port), Machine(**settings))  # type: ignore[arg-type]
    assert first == other
    assert sentence in first


def test_two_machines_of_one_rank_are_both_named_and_so_is_the_rank_that_nobody_has() -> None:
    port = free_port()
    errors = all_of(Machine(0, 3, port), Machine(1, 3, port), Machine(1, 3, port, host="gamma"))
    assert len(set(errors)) == 1
    assert "--machine-rank 1: " in errors[0]
    assert "machine 2 of 3 has not come" in errors[0]


def test_other_software_on_a_machine_is_refused() -> None:
    port = free_port()
    other = Machine(1, 2, port)
    versions = dataclasses.replace(other.member.versions, torch="1.0.0+cpu", slipway="0.0.1 (0000)")
    other.member = dataclasses.replace(other.member, versions=versions)
    first, _ = all_of(Machine(0, 2, port), other)
    assert "machine 1 (beta) differs from machine 0 (alpha): slipway 0.0.1 (0000), there" in first
    assert "torch 1.0.0, there" in first


def test_a_wrong_clock_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    first = Machine(0, 2, port)
    monkeypatch.setattr(met, "CLOCK_SECONDS", -1.0)
    assert all_of(first, Machine(1, 2, port)) == ["", ""]
    assert "the clock of machine 1 (beta) is" in first.said[0]


def test_a_missing_machine_is_named_while_the_others_wait_and_may_come_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(met, "TOLD_SECONDS", 0.2)
    port = free_port()
    machines = [Machine(0, 3, port), Machine(2, 3, port), Machine(1, 3, port)]
    for machine in machines[:2]:
        machine.start()
    limit = time.monotonic() + 30
    while not all(machine.said for machine in machines[:2]) and time.monotonic() < limit:
        time.sleep(0.01)
    assert "machine 0" in machines[1].said[0]
    assert "of 3 to come to" in machines[0].said[0]
    assert [machine.error for machine in machines[:2]] == ["", ""]
    machines[2].start()
    for machine in machines:
        machine.join(30)
        assert machine.error == ""


def test_an_address_that_is_this_machine_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(met, "ALONE_SECONDS", 0.3)
    first, second = Machine(0, 2, free_port()), Machine(1, 2, free_port())  # of two ports, so neither finds the other
    errors = all_of(first, second)
    assert "127.0.0.1 is this machine alone" in errors[0]
    assert "127.0.0.1 is this machine itself, beta, and machine 0 is not on it" in errors[1]


def test_another_program_at_the_port_is_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        guest = Machine(1, 2, port)
        guest.start()
        other.accept()[0].close()
        guest.join(30)
    assert "is no launcher that waits for this machine" in guest.error


def test_a_busy_port_is_refused() -> None:
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        assert f"--main-process-port {port}: another process of this machine listens" in all_of(Machine(0, 2, port))[0]


def test_a_machine_that_gives_up_while_it_waits_may_come_again() -> None:
    port = free_port()
    first, second = Machine(0, 2, port), Machine(1, 2, port)
    first.start()
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        try:
            with socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(b"hello\n")
            break
        except OSError:
            time.sleep(0.01)
    assert all_of(second) == [""]
    first.join(30)
    assert first.met is not None

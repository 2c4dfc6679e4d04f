"""Where machines meet: only what can be an address, and is one from here, is taken."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace

import pytest

from slipway.launcher.hardware.record import NetworkInterface
from slipway.launcher.wizard import addresses
from slipway.launcher.wizard.addresses import check_address
from slipway.training.common.errors import UserError
from tests.launcher.machines import machines

HOST = machines()["8xh100"]


def test_a_name_that_does_not_resolve_is_refused_unless_it_is_insisted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_resolved", lambda host: [])
    with pytest.raises(UserError, match=r"'node01' does not resolve here.*node01! takes it all the same"):
        check_address("node01", HOST, 29500, is_other_machine=False)
    assert check_address("node01!", HOST, 29500, is_other_machine=False).host == "node01"
    assert check_address("node01", HOST, 29500, is_other_machine=True).host == "node01"
    with pytest.raises(UserError, match="is a number, not a host"):
        check_address("70B!", HOST, 29500, is_other_machine=True)


def test_the_loopback_of_each_machine_is_no_meeting_place() -> None:
    with pytest.raises(UserError, match=r"own loopback: give an address that all of them reach, such as 10\.0\.0\.5"):
        check_address("127.0.0.1", HOST, 29500, is_other_machine=False)


def test_a_slow_name_server_does_not_hold_up_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def wait(*arguments: object, **options: object) -> list[object]:
        over.wait(60)
        return []

    monkeypatch.setattr(addresses, "RESOLVE_SECONDS", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", wait)
    with pytest.raises(UserError, match="does not resolve"):
        check_address("node01", HOST, 29500, is_other_machine=False)
    over.set()


def test_what_answers_at_the_address_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_resolved", lambda host: ["10.0.0.5"])
    assert check_address("node01", HOST, 29500, is_other_machine=False).is_here
    elsewhere = replace(
        HOST,
        network=(
            NetworkInterface(name="e", addresses=("10.9.9.9",), up=True, loopback=False, speed_megabits_per_second=1),
        ),
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(addresses, "CONNECT_SECONDS", 5.0)
        connect = socket.create_connection
        monkeypatch.setattr(
            socket, "create_connection", lambda address, **options: connect(("127.0.0.1", address[1]), **options)
        )
        told = check_address(f"node01:{port}", elsewhere, 29500, is_other_machine=False)
        assert f"something listens at port {port} already" in told.note
    closed = check_address(f"node01:{port}", elsewhere, 29500, is_other_machine=False)
    assert f"nothing listens at port {port} yet" in closed.note
    assert not closed.is_here

"""Processes of a launch meet, or are told within seconds why they cannot: real stores and sockets on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing

import psutil
import pytest

from slipway.launcher.common.ports import free_port
from slipway.training.common.errors import UserError
from slipway.training.common.program.launched import world_of
from slipway.training.devices import meeting
from tests.conftest import ROOT
from tests.limits import HANG_SECONDS

_MEET = """
import os, psutil
from slipway.training.common.program.launched import world_of
from slipway.training.devices.meeting import meet
store = meet(world_of(os.environ), 60.0)
store.set(f"name/{os.environ['RANK']}", os.environ["RANK"])
print("met", store.get(f"name/{1 - int(os.environ['RANK'])}").decode(), end=" ")
listening = {one.laddr.ip for one in psutil.Process().net_connections("inet") if one.status == "LISTEN"}
print(sorted(listening))
store.set(f"done/{os.environ['RANK']}", "")
store.wait(["done/0", "done/1"] if os.environ["RANK"] == "0" else ["done/0"])
"""


def promise(monkeypatch: pytest.MonkeyPatch, **variables: object) -> None:
    for name, value in {"WORLD_SIZE": 2, "RANK": 0, "MASTER_PORT": free_port(), **variables}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    monkeypatch.setattr(meeting, "_ALONE_SECONDS", 0.3)
    monkeypatch.setattr(meeting, "_TOLD_SECONDS", 0.3)
    monkeypatch.setattr(meeting, "_UNREACHED_SECONDS", 1.0)
    # What this process was started with does not change; it is to look as if it had been started so.
    monkeypatch.setattr(
        psutil.Process, "environ", lambda process: dict(os.environ) if process.pid == os.getpid() else {}
    )


def refusal() -> str:
    with pytest.raises(UserError) as caught:
        meeting.meet(world_of(os.environ), 600.0)
    assert caught.value.is_alone  # so that it is printed on any rank
    return str(caught.value)


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_whose_others_are_not_on_this_machine_does_not_wait(
    monkeypatch: pytest.MonkeyPatch, address: str, rank: int
) -> None:
    promise(monkeypatch, MASTER_ADDR=address, RANK=rank)
    message = refusal()
    assert f"MASTER_ADDR={address}" in message
    assert f"WORLD_SIZE=2 and RANK={rank} promise a launch" in message
    assert "no other process of this launch is on this machine" in message


def test_rank_0_of_another_machine_is_refused_here(monkeypatch: pytest.MonkeyPatch) -> None:
    promise(monkeypatch, MASTER_ADDR="no-such-host.invalid")
    monkeypatch.setattr(meeting.socket, "create_connection", _unknown)
    assert "MASTER_ADDR=no-such-host.invalid" in (message := refusal())
    assert "does not lead to this machine, where rank 0 is" in message


def test_a_name_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    promise(monkeypatch, MASTER_ADDR="no-such-host.invalid", RANK=1)
    monkeypatch.setattr(meeting.socket, "create_connection", _unknown)
    assert "cannot be reached (Name or service not known)" in refusal()


def _unknown(*_: object, **__: object) -> None:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_port_that_is_taken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        promise(monkeypatch, MASTER_ADDR="127.0.0.1", MASTER_PORT=taken.getsockname()[1])
        assert "cannot be served by this process, rank 0 (Address already in use" in refusal()


def test_an_agent_that_is_gone_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    promise(monkeypatch, MASTER_ADDR="127.0.0.1")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    assert "is left of another launch: its agent does not answer" in refusal()


def test_two_processes_meet_and_listen_on_loopback_only() -> None:
    port = free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _MEET],
            cwd=ROOT,
            env={
                **os.environ,
                "RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "localhost",
                "MASTER_PORT": str(port),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=HANG_SECONDS)[0].strip() for process in processes]
    assert outputs == ["met 1 ['127.0.0.1']", "met 0 []"]

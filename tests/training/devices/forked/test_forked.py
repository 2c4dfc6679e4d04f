"""Ranks that are forked meet, are followed, are told to stop, and none stays behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist

from slipway.training.common.errors import TrainingFailed, UserError
from slipway.training.devices.forked import group, member
from slipway.training.devices.forked.group import run_forked
from slipway.training.devices.forked.member import Channel, Work, check_fork
from slipway.training.devices.interruption import Interrupted, Quit, StopRequest
from slipway.training.devices.world import _meetings, launched_world
from tests.limits import wait_until
from tests.training.processes import is_running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")

Rank = Callable[[Channel, int], Any]


def forked(
    act: Rank, *, receive: group.Receive = lambda kind, message: None, size: int = 2, shown: bool = False
) -> Any:
    """Return what `act` of rank 0 returned, once all have ended and none is left."""

    def work(channel: Channel) -> Mapping[str, Any]:
        return {"value": act(channel, launched_world().rank)}

    others = set(psutil.Process().children())  # such as the server from which other tests fork
    try:
        return run_forked(work, size, receive, captures_output=shown)["value"]
    finally:
        assert set(psutil.Process().children()) <= others


def wait_to_stop(channel: Channel, *, ready: bool) -> None:
    """Say that this rank is ready, and stop when it is asked to."""
    with StopRequest() as stop:
        if ready:
            channel.send("ready")
        while stop.name is None:
            time.sleep(0.01)
        raise Interrupted(f"stopped by {stop.name}", "runs/trial")


def test_ranks_meet_and_rank_0_tells_the_result() -> None:
    def add(channel: Channel, rank: int) -> list[int]:
        store = dist.PrefixStore("test", group_store())
        dist.init_process_group("gloo", store=store, rank=rank, world_size=launched_world().size)
        total = torch.tensor([rank + 1])
        dist.all_reduce(total)
        return [rank, launched_world().size, int(total)]

    assert forked(add, size=3) == [0, 3, 6]


def group_store() -> dist.Store:
    assert _meetings.store is not None
    return _meetings.store


def test_ranks_compute_in_threads_although_this_process_did() -> None:
    """A fork of the thread that computed would wait for ever."""
    threads = torch.get_num_threads()
    values = torch.linspace(0, 1, 2_000_000)
    try:
        torch.set_num_threads(2)
        expected = float(values.exp().sum())
        assert forked(lambda channel, rank: float(values.exp().sum())) == expected
    finally:
        torch.set_num_threads(threads)


def test_what_rank_0_prints_and_sends_comes_in_its_order(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []

    def speak(channel: Channel, rank: int) -> None:
        print(f"ränk {rank}")
        print("oh", file=sys.stderr)
        for number in range(2000):
            channel.send("number", number=number, text="x" * 100)

    forked(speak, receive=lambda kind, message: seen.append((kind, message["number"])), shown=True)
    assert seen == [("number", number) for number in range(2000)]
    assert capsys.readouterr() == ("ränk 0\n", "oh\n")


def test_a_rank_that_dies_is_named_and_takes_the_others_with_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(group, "_AFTER_FAILURE_SECONDS", 0.2)

    def die(channel: Channel, rank: int) -> None:
        channel.send("folder", folder="runs/trial")
        if rank == 1:
            os.write(2, b"last words\n")
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)

    with pytest.raises(
        TrainingFailed,
        match=r"^rank 1 was ended by SIGKILL, perhaps for want of memory; go on from its last checkpoint with --resume runs/t",
    ):
        forked(die)
    assert capfd.readouterr().err == "rank 1 | last words\n"


def raise_on(error: Exception, *ranks: int) -> Rank:
    def act(channel: Channel, rank: int) -> None:
        if rank in ranks:
            if isinstance(error, (UserError, TrainingFailed)):
                error.is_alone = len(ranks) == 1
            raise error
        if len(ranks) == 1:
            raise RuntimeError("[/pytorch/third_party/gloo/transport/tcp/pair.cc] Connection closed by peer")

    return act


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize(
    ("act", "kind", "message"),
    [
        (raise_on(UserError("no data", option="data"), 0, 1), UserError, "no data"),
        (raise_on(UserError("no data"), 1), UserError, "rank 1: no data"),
        (raise_on(TrainingFailed("no room"), 0, 1), TrainingFailed, "no room"),
        (raise_on(KeyError("a bug"), 1), TrainingFailed, "rank 1 ended with KeyError: 'a bug'"),
        (raise_on(KeyError("a bug"), 0, 1), TrainingFailed, "rank 0 ended with KeyError: 'a bug'"),
        (raise_on(ValueError("bad"), 0), TrainingFailed, "rank 0 ended with ValueError: bad"),
    ],
)
def test_the_error_that_came_first_is_raised(
    act: Rank, kind: type[Exception], message: str, *, shown: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(kind) as caught:
        forked(act, shown=shown)
    assert str(caught.value) == message
    assert ("Traceback" in capfd.readouterr().err) == ("ended with" in message)


@pytest.mark.parametrize(("kind", "told"), [("cuda", "asked for or used the GPU"), ("cpu", None)])
def test_a_fork_of_a_process_that_used_the_gpu_is_refused_if_it_needs_one(
    monkeypatch: pytest.MonkeyPatch, kind: str, told: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    monkeypatch.setattr(member, "choose_kind", lambda device: kind)
    if told is None:
        forked(lambda channel, rank: check_fork("auto"))
        return
    with pytest.raises(UserError, match=f"^num_processes: this process has {told}, .*; restart it"):
        forked(lambda channel, rank: check_fork("auto"))


def test_a_fork_in_which_autograd_is_dead_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tensor: torch.Tensor) -> None:
        raise RuntimeError("Unable to handle autograd's threading in combination with fork-based multiprocessing.")

    monkeypatch.setattr(torch.Tensor, "backward", fail)
    with pytest.raises(
        UserError, match=r"^num_processes: this process has trained where there is a GPU, .*; restart it"
    ):
        forked(lambda channel, rank: check_fork("cpu"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_ranks_and_the_handler_is_set_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"^stopped by {number.name}: go on with --resume runs/trial$"):
        forked(
            lambda channel, rank: wait_to_stop(channel, ready=rank == 0),
            receive=lambda kind, message: os.kill(os.getpid(), number),
        )
    assert signal.getsignal(number) is before


def test_a_signal_before_a_rank_listens_is_not_lost() -> None:
    def late(channel: Channel, rank: int) -> None:
        if rank == 0:
            channel.send("ready")
            time.sleep(0.3)
        wait_to_stop(channel, ready=False)

    with pytest.raises(Interrupted, match=r"^stopped by SIGTERM"):
        forked(late, receive=lambda kind, message: os.kill(os.getpid(), signal.SIGTERM))


def test_the_third_interrupt_ends_ranks_that_do_not_listen() -> None:
    def press(kind: str, message: Mapping[str, Any]) -> None:
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)

    def sleep(channel: Channel, rank: int) -> None:
        channel.send("ready")
        time.sleep(600)

    with pytest.raises(Quit):
        forked(sleep, receive=press)


def test_what_follows_the_ranks_may_fail_and_none_is_left() -> None:
    def fail(kind: str, message: Mapping[str, Any]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        forked(lambda channel, rank: (channel.send("ready"), time.sleep(600)), receive=fail)


def test_ranks_stop_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    def work(channel: Channel) -> Mapping[str, Any]:
        rank = launched_world().rank
        try:
            wait_to_stop(channel, ready=False)
        except Interrupted as stopped:
            (tmp_path / f"stopped_{rank}").write_text(str(stopped))
        return {}

    parent = os.fork()
    if parent == 0:
        try:
            run_in_child(work, tmp_path)
        finally:
            os._exit(1)
    wait_until(lambda: len([one for one in tmp_path.glob("pid_*") if one.read_text()]) == 2)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    pids = [int(path.read_text()) for path in tmp_path.glob("pid_*")]
    wait_until(lambda: not any(is_running(str(pid)) for pid in pids))
    assert [path.read_text()[:18] for path in sorted(tmp_path.glob("stopped_*"))] == ["stopped by SIGTERM"] * 2


def run_in_child(work: Work, folder: Path) -> None:
    def with_pid(channel: Channel) -> Mapping[str, Any]:
        part = folder / f"part_{launched_world().rank}"
        part.write_text(str(os.getpid()))
        part.rename(folder / f"pid_{launched_world().rank}")
        return work(channel)

    run_forked(with_pid, 2, lambda kind, message: None, captures_output=False)

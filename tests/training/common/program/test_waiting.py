"""What is waited for is said; where processes cannot meet they are told so at once."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from slipway.training.common.errors import UserError
from slipway.training.common.program import waiting
from slipway.training.common.program.waiting import check_meeting_place, said_if_long


def test_a_long_wait_is_said_and_a_short_one_is_not(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with said_if_long("reading clips.csv ..."):
        pass
    monkeypatch.setattr(waiting, "SAID_AFTER_SECONDS", 0.0)
    with said_if_long("reading clips.csv ..."):
        timers = [thread for thread in threading.enumerate() if thread.name == "waiting"]
        for timer in timers:
            timer.join()
    assert capfd.readouterr().err == "reading clips.csv ...\n"


def test_where_processes_can_meet_nothing_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    check_meeting_place("127.0.0.1", "MASTER_ADDR")
    check_meeting_place("localhost", "MASTER_ADDR")
    assert capfd.readouterr() == ("", "")


def test_a_host_that_nobody_knows_is_refused_with_what_named_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_NAME_SECONDS", 0.0)
    with pytest.raises(
        UserError, match=r"^MASTER_ADDR=no\.host\.invalid: no host of this name \(.*; give the name or the"
    ):
        check_meeting_place("no.host.invalid", "MASTER_ADDR")


def test_a_machine_that_cannot_reach_itself_is_told_how_it_can() -> None:
    code = (
        "from slipway.training.common.program.waiting import check_meeting_place\n"
        "check_meeting_place('127.0.0.1', 'MASTER_ADDR')"
    )
    ended = subprocess.run(["unshare", "-rn", sys.executable, "-c", code], capture_output=True, text=True)
    if "unshare" in ended.stderr:
        pytest.skip("no namespace of one's own to be had here")
    assert ended.stderr.splitlines()[-1].endswith(
        "this machine cannot reach itself at 127.0.0.1: its loopback device is down; start it with `ip link set lo up`, or "
        "train in one process"
    )


def test_a_pod_waits_for_the_name_of_another_that_is_placed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = iter(["no host of this name", "no host of this name", None])
    monkeypatch.setattr(waiting, "_problem_with", lambda address: next(problems))
    monkeypatch.setattr(waiting, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(waiting, "_NAME_SECONDS", 0.0)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    check_meeting_place("train-0.train", "--main-process-ip")
    assert next(problems, "all were asked for") == "all were asked for"

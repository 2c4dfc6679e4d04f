"""Threads of OpenMP spin while they have the cores for themselves, and no longer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest

from slipway.training.devices.sharing.choice import WayChoice
from slipway.training.devices.sharing.control import CoreControl
from slipway.training.devices.sharing.observed import waited_seconds
from slipway.training.devices.sharing.openmp import gnu_openmp
from tests.limits import HANG_SECONDS

TICK = 0.2


def spins(shares: Sequence[float]) -> str:
    """Return for each tick whether threads spin after it, as `s` or `.`."""
    choice = WayChoice()
    found = ""
    for share in shares:
        choice.note(share, TICK)
        found += "s" if choice.spins else "."
    return found


def test_threads_spin_on_a_machine_of_their_own() -> None:
    assert spins([0.0, 0.02, 0.09, 0.0]) == "ssss"


def test_threads_stop_to_spin_in_the_tick_in_which_they_waited_for_a_core() -> None:
    assert spins([0.0, 0.3, 0.2, 0.05]) == "s..."


def test_spinning_is_tried_again_after_a_quiet_second_and_less_often_while_the_neighbour_stays() -> None:
    found = spins([0.3, *[0.0] * 5, 0.3, *[0.0] * 10, 0.3, *[0.0] * 20])
    assert found == "....." + "s" + "." * 10 + "s" + "." * 20 + "s"


def test_a_wait_in_the_quiet_time_begins_it_again() -> None:
    assert spins([0.3, *[0.0] * 4, 0.05, *[0.0] * 5]) == "." * 10 + "s"


def test_after_a_long_time_alone_a_neighbour_counts_as_the_first() -> None:
    alone = [0.0] * 11  # over two seconds
    assert spins([0.3, *[0.0] * 5, 0.3, *[0.0] * 10, *alone, 0.3, *[0.0] * 5])[-6:] == ".....s"


def test_it_is_said_once_that_the_cores_are_shared_however_often_spinning_is_tried() -> None:
    choice, told = WayChoice(), []
    for share in [0.3, *[0.0] * 5, 0.3, *[0.0] * 10, *[0.0] * 12]:
        choice.note(share, TICK)
        told.append(choice.is_shared)
    assert told == [True] * 27 + [False] * 2


SCRIPT = """
import json, os, sys, time
import torch

torch.set_num_threads(2)
torch.ones(1 << 20).mul_(2)
from slipway.training.devices.sharing.control import CoreControl

def threads():
    return len(os.listdir("/proc/self/task"))

def wait_for(condition):
    while not condition():
        time.sleep(0.01)
    return True

waited = {1: 0.0}
def busy():
    waited[1] += is_busy * 1.0
    return dict(waited)

is_busy, before = True, threads()
with CoreControl(busy, may_gather=False) as control:
    found = [wait_for(lambda: not control.spins), threads() - before, control.take_change(), control.take_change()]
    torch.ones(1 << 20).mul_(2)
    is_busy = False
    found += [wait_for(lambda: control.spins)]
found += [wait_for(lambda: threads() == before), control.spins]
print(json.dumps(found))
"""


def test_an_idle_team_of_threads_stands_while_others_want_the_cores_and_ends_with_the_block() -> None:
    if gnu_openmp() is None or not waited_seconds():
        pytest.skip("no GNU OpenMP, or a system that does not tell how long threads wait")
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=HANG_SECONDS,
    )
    size = max(2, len(os.sched_getaffinity(0)))  # of the team, beside the watch and the thread that keeps it
    assert json.loads(done.stdout) == [True, size + 1, "asleep", None, True, True, True]


def test_what_the_user_chose_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    with CoreControl(lambda: {1: 0.0}):
        assert "spinning" not in [thread.name for thread in threading.enumerate()]

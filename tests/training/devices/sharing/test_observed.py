"""What the system tells about the cores."""

from __future__ import annotations

import sys
import time

import pytest

from slipway.training.devices.sharing import observed
from slipway.training.devices.sharing.observed import OtherPrograms, used_core_seconds


def test_cores_that_others_use_are_those_in_use_less_this_program(monkeypatch: pytest.MonkeyPatch) -> None:
    used, own, now = iter([10.0, 10.8, 12.4]), iter([5.0, 5.3, 6.4]), iter([0.0, 0.5, 1.0])
    monkeypatch.setattr(observed, "used_core_seconds", lambda: next(used))
    monkeypatch.setattr(time, "process_time", lambda: next(own))
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    others = OtherPrograms()
    assert [others.cores() for _ in range(3)] == pytest.approx([0.0, 1.0, 1.0])


def test_where_the_system_does_not_say_nobody_else_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed, "used_core_seconds", lambda: None)
    assert OtherPrograms().cores() == 0.0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_time_that_the_cores_are_used_grows_with_what_this_program_uses() -> None:
    before, began = used_core_seconds(), time.process_time()
    assert before is not None
    while time.process_time() - began < 0.1:
        pass
    after = used_core_seconds()
    assert after is not None
    assert after > before

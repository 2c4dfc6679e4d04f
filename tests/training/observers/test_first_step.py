"""How long a user waited for the first step is reported once."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from slipway.training.observers import first_step
from slipway.training.observers.events import Observers
from slipway.training.observers.first_step import FirstStep, process_age_seconds
from tests.conftest import ROOT
from tests.training.helpers import Recorder
from tests.training.observers import make_run_start, make_step


def test_it_is_reported_once_and_the_observer_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    ages = iter([2.5, 4.0])
    monkeypatch.setattr(first_step, "process_age_seconds", lambda: next(ages))
    recorder = Recorder()
    observers = Observers([recorder])
    observers.add(FirstStep(observers))
    observers.on_run_start(make_run_start())
    observers.on_step(make_step(1))
    observers.on_step(make_step(2))
    (told,) = recorder.decisions
    assert (told.kind, told.fields) == ("first_step", {"seconds": 4.0, "seconds_before_run": 2.5})
    assert told.reason == "done 4.0 s after the start of the process; the data and the model were ready after 2.5 s"
    assert len(recorder.steps) == 2


def test_the_age_of_a_process_counts_from_its_start() -> None:
    code = (
        "import sys, time; time.sleep(0.3); from slipway.training.observers.first_step import process_age_seconds as age; "
        "print(age())"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0.3 <= float(done.stdout) <= time.monotonic() - started + 0.1
    assert process_age_seconds() > 0

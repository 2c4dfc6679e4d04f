"""Where no thread can be started, its work is done without it, and that is said once."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from slipway.training.common.program import threads
from slipway.training.common.program.threads import HelperThreads
from slipway.training.devices.watchdog import Watchdog


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no thread from now on, as where the system refuses."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_told", set())
    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.usefixtures("no_threads")
def test_what_threads_would_do_is_done_by_the_caller_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "slipway"), HelperThreads(2) as helpers:
        assert list(helpers.map(abs, [-1, -2, -3])) == [1, 2, 3]
        with pytest.raises(ZeroDivisionError):
            helpers.submit(lambda: 1 / 0).result()
    (told,) = caplog.messages
    assert told.endswith("the main thread reads and prepares the data by itself")


def test_with_threads_others_do_it() -> None:
    with HelperThreads(1) as helpers:
        assert helpers.submit(threading.get_ident).result() != threading.get_ident()


@pytest.mark.usefixtures("no_threads")
def test_a_training_that_nobody_can_watch_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "slipway"), Watchdog(tmp_path, 0, 0.1) as watchdog:
        watchdog.beat()
    assert "a training that hangs is not ended" in caplog.text

"""Signals to the launcher: none is lost, who sent one is known where the system says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from slipway.launcher.common.signals import ReceivedSignal, SignalQueue
from tests.limits import HANG_SECONDS

WAYS = [
    pytest.param("linux", marks=pytest.mark.skipif(sys.platform != "linux", reason="not Linux")),
    "darwin",
]


@pytest.fixture(params=WAYS)
def queue(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SignalQueue:
    monkeypatch.setattr("slipway.launcher.common.signals.sys", SimpleNamespace(platform=request.param))
    return SignalQueue()


def test_signals_wait_in_the_inbox_and_handlers_come_back(queue: SignalQueue) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD)]
    with queue:
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        found = {queue.next(5.0) for _ in range(2)}
        assert queue.next(0.0) is None
    assert found == {ReceivedSignal(signum=one, to_group=False) for one in (signal.SIGTERM, signal.SIGUSR1)}
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD)] == before
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_signal_that_another_thread_gets_is_not_lost(queue: SignalQueue) -> None:
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()  # before the signals are blocked, which they then are not for it
    with queue:
        signal.pthread_kill(other.ident or 0, signal.SIGUSR1)
        found = [queue.next(0.2) for _ in range(5)]
    done.set()
    other.join()
    assert ReceivedSignal(signum=signal.SIGUSR1, to_group=False) in found


def test_a_process_that_ends_wakes_it(queue: SignalQueue) -> None:
    with queue:
        started = time.monotonic()
        process = subprocess.Popen([sys.executable, "-c", ""])
        while process.poll() is None:
            assert queue.next(HANG_SECONDS) is None
        assert time.monotonic() - started < HANG_SECONDS
        assert process.returncode == 0


def test_what_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with SignalQueue() as queue:
            os.kill(os.getpid(), signal.SIGHUP)
            assert queue.next(0.05) is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_ignored_sigchld_does_not_lose_exit_codes() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with SignalQueue():
            assert subprocess.run([sys.executable, "-c", "raise SystemExit(3)"], check=False).returncode == 3
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_launcher_that_is_stopped_while_it_waits_takes_nothing_for_a_signal_afterwards() -> None:
    code = (
        "from slipway.launcher.common.signals import SignalQueue\n"
        "with SignalQueue() as queue:\n"
        "    print('ready', flush=True)\n"
        "    print([queue.next(0.1) for _ in range(3)])\n"
    )
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.2)  # longer than it waits for a signal
        os.kill(process.pid, signal.SIGCONT)
        assert process.communicate(timeout=HANG_SECONDS)[0] == "[None, None, None]\n"

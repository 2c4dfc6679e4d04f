"""`slipway launch` in a real terminal: nothing stands between it and the training, and Ctrl-C arrives once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pexpect
import pytest

from tests.launcher.launches import SLIPWAY, Launches, launches
from tests.limits import HANG_SECONDS

__all__ = ["launches"]

ASKS = """
import os, sys, time
print("terminal:", [os.isatty(stream) for stream in (0, 1, 2)])
if os.environ["RANK"] == "0":
    print("hello", input("name? "))
try:
    print("up")
    time.sleep(60)
except KeyboardInterrupt:
    try:
        print("saving")
        time.sleep(1)
        print("saved")
    except KeyboardInterrupt:
        print("twice")
    sys.exit(75)
"""

Terminal = Callable[..., Any]


@pytest.fixture
def terminal(launches: Launches) -> Terminal:
    """Return what starts a launch of a script that asks, in a terminal."""
    launches.script(ASKS)

    def start(*arguments: str) -> Any:
        command = [*SLIPWAY[1:], "launch", *arguments, "script.py"]
        environment: Any = launches.environment()
        return pexpect.spawn(
            sys.executable, command, cwd=str(launches.folder), env=environment, encoding="utf-8", timeout=HANG_SECONDS
        )

    return start


def ended(screen: Any) -> int:
    screen.expect(pexpect.EOF)
    screen.close()
    return int(screen.exitstatus)


def answer(screen: Any) -> None:
    screen.expect(r"terminal: \[True, True, True\]")
    screen.expect("name")
    screen.sendline("Ada")
    screen.expect("hello Ada")
    screen.expect("up")


def test_one_process_reads_the_terminal_and_gets_ctrl_c_once(terminal: Terminal, launches: Launches) -> None:
    screen = terminal()
    answer(screen)
    screen.sendintr()
    screen.expect("saved")
    assert ended(screen) == 75
    assert "stopped by SIGINT, resumable" in screen.before
    assert launches.logs()[0].read_text() == ""  # the terminal had it


def test_an_interrupt_sent_to_the_launcher_alone_reaches_the_process(terminal: Terminal) -> None:
    screen = terminal()
    answer(screen)
    os.kill(screen.pid, signal.SIGINT)
    screen.expect("saved")
    assert ended(screen) == 75


def test_a_second_ctrl_c_does_not_wait(terminal: Terminal) -> None:
    screen = terminal("--num-processes", "2", "--main-process-port", "0")
    answer(screen)
    screen.sendintr()
    screen.expect("Ctrl-C again kills at once")
    screen.expect("saving")
    screen.sendintr()
    screen.expect("killing what is left")
    assert ended(screen) == 130


def test_the_log_of_a_rank_that_had_the_terminal_has_the_final_traceback(
    terminal: Terminal, launches: Launches
) -> None:
    launches.script("print('on the screen')\n1 / 0")
    screen = terminal()
    assert ended(screen) == 1
    assert "on the screen" in screen.before
    assert screen.before.count("ZeroDivisionError: division by zero") == 2  # the traceback, and the line that names it
    log = launches.logs()[0].read_text()
    assert log.startswith("Traceback")
    assert log.endswith("ZeroDivisionError: division by zero\n")

"""Our console shows names as text and outlives its reader and its disk."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from slipway.training.common.program.console import SteadyConsole
from tests.limits import HANG_SECONDS

PRINTS = """
import sys
from slipway.training.observers.screen.console import make_console
console = make_console(stderr=False)
for _ in range(3):
    console.print("x" * 100_000)
sys.stderr.write("alive")
"""


def test_names_command_no_terminal_wherever_they_stand() -> None:
    file = io.StringIO()
    console = SteadyConsole(file=file, force_terminal=True, width=60, markup=False, highlight=False)
    name = "\x1b[2J\u202ename\udcff"
    table = Table(name)
    table.add_row(name)
    for one in (name, Text(name, style="bold"), table, Panel(name, title=name)):
        console.print(one)
    shown = file.getvalue()
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown
    assert shown.count(r"\x1b[2J\u202ename\udcff") >= 4
    assert "\x1b[1m" in shown  # its own styles are


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_or_a_closed_stream_under_the_console_ends_no_program() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([sys.executable, "-c", PRINTS], stdout=full, stderr=subprocess.PIPE, timeout=HANG_SECONDS)
    assert (done.returncode, done.stderr) == (0, b"alive")
    closing = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    done = subprocess.run([sys.executable, "-c", closing, "-c", PRINTS], capture_output=True, timeout=HANG_SECONDS)
    assert (done.returncode, done.stderr) == (0, b"alive")

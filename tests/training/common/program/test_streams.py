"""Programs whose standard streams are closed, full or left by their reader."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_OPENS = (
    "import os, sys; from slipway.training.common.program.streams import open_closed_streams, print_to_stderr as say; "
    "open_closed_streams(); number = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT); "
    "print('out'); say('first'); say('second'); os.write(number, b'%d' % number)"
)
_SLIPWAY = "import sys; from slipway.launcher.cli import main; sys.exit(main())"


def _run(redirect: str, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    line = f'exec "$0" -c "$1" "${{@:2}}" {redirect}'
    return subprocess.run(["bash", "-c", line, sys.executable, code, *words], capture_output=True, text=True)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_file_never_gets_the_number_of_a_stream_that_is_closed(closed: str, tmp_path: Path) -> None:
    ended = _run(closed, _OPENS, str(tmp_path / "file"))
    assert ended.returncode == 0, ended.stderr
    assert int((tmp_path / "file").read_text()) > 2


def test_what_a_full_stderr_has_no_room_for_is_lost_and_the_program_goes_on(tmp_path: Path) -> None:
    ended = _run("2>/dev/full", _OPENS, str(tmp_path / "file"))
    assert (ended.returncode, ended.stdout) == (0, "out\n")
    assert (tmp_path / "file").read_text()


def test_a_command_says_that_a_full_disk_has_no_room_for_its_output(tmp_path: Path) -> None:
    ended = _run(">/dev/full", _SLIPWAY, "runs", "--runs-dir", str(tmp_path), "--json")
    assert ended.returncode == 1
    assert ended.stderr == "error: stdout: No space left on device; not all was written\n"


@pytest.mark.parametrize("words", ["--version", "plan", "train --explain", "train --help", "launch --help"])
def test_whatever_a_command_was_to_print_it_fails_where_that_has_no_room(words: str) -> None:
    ended = _run(">/dev/full", _SLIPWAY, *words.split())
    assert (ended.returncode, ended.stderr) == (1, "error: stdout: No space left on device; not all was written\n")


@pytest.mark.parametrize("redirect", [">&-", "2>/dev/full", ">&- 2>&-"])
def test_a_command_ends_as_ever_where_nobody_can_read_it(redirect: str, tmp_path: Path) -> None:
    assert _run(redirect, _SLIPWAY, "runs", "--runs-dir", str(tmp_path)).returncode == 0
    assert _run(redirect, _SLIPWAY, "unknown").returncode == 2

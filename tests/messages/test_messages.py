"""Every bad option, file, environment and place gets the message of `golden_messages.txt`, and exit code 2, from a start.

`UPDATE_GOLDEN=1 python -m pytest -n 0 THIS_FILE` writes the messages; read the difference before you commit it.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slipway.launcher import cli
from slipway.training.common.errors import EXIT_BAD_INPUT, TrainingFailed, UserError
from slipway.training.run.cli import main

from .case import LONG, Case
from .folders import RUN_FOLDERS
from .launching import LAUNCHER
from .places import ENVIRONMENT, LABELLED, MEANINGLESS, PLACES
from .starts import CONFIG, OPTIONS, PLANS, SETTINGS, STAGES, SWEEPS

FILE = Path(__file__).with_name("golden_messages.txt")
GROUPS = {
    "options": OPTIONS,
    "config": CONFIG,
    "stages": STAGES,
    "settings": SETTINGS,
    "plans": PLANS,
    "sweeps": SWEEPS,
    "launcher": LAUNCHER,
    "environment": ENVIRONMENT,
    "places": PLACES,
    "labelled": LABELLED,
    "meaningless": MEANINGLESS,
    "run folders": RUN_FOLDERS,
}
NOBODY = 65534


@pytest.fixture
def top() -> Iterator[Path]:
    """A folder that every user may enter, as those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="slipway-messages-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def as_said(given: Case) -> Iterator[None]:
    """Be the user, and have the room on the disk, that a case says."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.getsignal(signal.SIGXFSZ)
    is_root = os.geteuid() == 0
    try:
        if given.most_file_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (given.most_file_bytes, before[1]))
        if given.is_other_user and is_root:
            os.seteuid(NOBODY)
        yield
    finally:
        if given.is_other_user and is_root:
            os.seteuid(0)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def message_of(given: Case, root: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Start what a case says in its folder, and return what the user is told."""
    words = [word.replace("PATH", str(root)) for word in given.words.split(" ") if word]
    with as_said(given):
        if given.act is not None:
            with pytest.raises((UserError, TrainingFailed)) as raised:
                given.act(root)
            told = str(raised.value)
        else:
            code = main(words[1:]) if words[0] == "train" else cli.main(words)
            told = capsys.readouterr().err
            assert code == EXIT_BAD_INPUT, told
    lines = [line.strip() for line in told.removeprefix("error: ").splitlines()]
    text = (
        " | ".join(lines)
        .replace(str(root), "PATH")
        .replace(LONG, "LONG")
        .replace(f" {socket.gethostname()} ", " HOST ")
    )
    return re.sub(r"instead of [\d,]+", "instead of N", re.sub(r"\d{8}T\d{6}Z-\d+", "LAUNCH", text))


@pytest.mark.parametrize("group", GROUPS)
def test_a_person_is_told_what_is_wrong_and_what_to_do(
    group: str, top: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], accelerate_state: None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("sys.argv", ["train.py"])
    found = {}
    for name, given in GROUPS[group].items():
        root = top / str(len(found))
        root.mkdir(mode=0o777)
        root.chmod(0o777)
        given.prepare(root)
        with monkeypatch.context() as here:
            here.chdir(root)
            for variable, folder in (
                ("HOME", root),
                ("XDG_CONFIG_HOME", root / "config"),
                ("XDG_CACHE_HOME", root / "c0"),
            ):
                here.setenv(variable, str(folder))
            for variable, value in given.environment.items():
                here.setenv(variable, value.replace("PATH", str(root)))
            capsys.readouterr()
            found[name.replace(LONG, "LONG")] = message_of(given, root, capsys)
    known = dict(line.split(" => ", 1) for line in FILE.read_text(encoding="utf-8").splitlines() if " => " in line)
    if os.environ.get("UPDATE_GOLDEN"):
        known |= found
        FILE.write_text("".join(f"{key} => {known[key]}\n" for key in sorted(known)), encoding="utf-8")
    assert found == {key: known.get(key) for key in found}
    assert not [key for key, message in found.items() if "Traceback" in message or len(message) > 2000]


def test_the_table_holds_what_is_tried_and_nothing_else() -> None:
    keys = [line.split(" => ", 1)[0] for line in FILE.read_text(encoding="utf-8").splitlines()]
    assert keys == sorted(keys)
    assert set(keys) == {name.replace(LONG, "LONG") for cases in GROUPS.values() for name in cases}
    assert len(keys) >= 120

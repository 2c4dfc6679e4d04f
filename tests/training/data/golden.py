"""The messages that people see for bad data, as they were agreed on: `golden_messages.txt`, a line `key: message` each.

`UPDATE_GOLDEN=1 python -m pytest -n 0 TEST` writes the messages of a test; read the difference before you commit it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slipway.training.common.errors import UserError
from slipway.training.data.specs import Reading
from slipway.training.data.understanding.understand import read_landmarks

FILE = Path(__file__).with_name("golden_messages.txt")


def assert_golden(key: str, message: str, *paths: Path) -> None:
    """Check that a message is the one of `key`; `paths` in it count as PATH, and its lines are joined by ` | `."""
    for path in sorted(map(str, paths), key=len, reverse=True):
        message = message.replace(path, "PATH")
    message = " | ".join(line.strip() for line in message.splitlines())
    known = messages()
    if os.environ.get("UPDATE_GOLDEN"):
        known[key] = message
        FILE.write_text("".join(f"{name}: {known[name]}\n" for name in sorted(known)), encoding="utf-8")
    assert message == known.get(key), f"{key} in {FILE.name}"


def assert_refused(key: str, source: Path, reading: Reading | None = None, *, root: Path | None = None) -> None:
    """Check that reading a path ends in the message of `key`; paths below `root` (the path itself) begin with PATH."""
    with pytest.raises(UserError) as raised:
        read_landmarks(str(source), reading)
    assert_golden(key, str(raised.value), root or source)


def messages() -> dict[str, str]:
    """Return the messages of the file by their keys."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines)

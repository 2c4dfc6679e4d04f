"""What the tests of the wizard share."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.launcher.plan.accelerate import config as accelerate_config
from tests.launcher.wizard.talk import Talker


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Talker:
    """Return what calls the wizard in an empty folder; files are written without asking Accelerate, which costs seconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(accelerate_config, "check_config", lambda path, plan: [])
    return Talker(monkeypatch, capsys)

"""What comes from a host: answers of ours, and lines that its shell prints by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.launcher.hosts.host_list import NamedHost
from slipway.launcher.hosts.link import Link
from slipway.training.common.errors import UserError


def test_lines_that_a_shell_prints_by_itself_are_no_answers(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nprintf '%s\\n' hello 5 '[1]' null '\"x\"' '{\"ready\": 1}'\n")
    program.chmod(0o755)
    link = Link(NamedHost(target="localhost", python=str(program)))
    try:
        assert link.next(30.0) == {"ready": 1}
        with pytest.raises(EOFError):
            link.next(30.0)
    finally:
        link.close(5.0)


def test_a_machine_without_ssh_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"--hosts nowhere.invalid: ssh is not on this machine: install OpenSSH"):
        Link(NamedHost(target="nowhere.invalid"))

"""Which records are this user's own: signed with a key that only the user can read."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.training.common.program import trust
from slipway.training.common.program.trust import key_file, signed, why_foreign
from tests.conftest import ROOT
from tests.limits import HANG_SECONDS

FACTS = {"module": None, "script": "/home/me/train.py", "arguments": ["--lr", "1e-3", "é\x1b"], "folder": "/home/me"}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    trust._key.cache_clear()
    return tmp_path / "state"


def as_another_process() -> None:
    trust._key.cache_clear()


def test_what_this_user_signed_is_own_after_it_went_through_a_file_and_another_process() -> None:
    text = json.dumps(signed("command", FACTS), indent=2)
    as_another_process()
    assert why_foreign("command", json.loads(text)) is None
    assert (key_file().stat().st_mode & 0o777, key_file().parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert len(key_file().read_bytes()) == 32


@pytest.mark.parametrize(
    "change",
    [
        {"script": "/tmp/evil.py"},
        {"arguments": ["--lr", "1e-3"]},
        {"folder": "/tmp"},
        {"module": "evil"},
        {"signature": "0" * 64},
        {"signature": "\ud800"},
        {"more": 1},
    ],
)
def test_what_was_changed_since_is_foreign(change: dict[str, object]) -> None:
    facts = {**signed("command", FACTS), **change}
    assert why_foreign("command", facts) == "it was signed by another user or on another machine, or changed since"


@pytest.mark.parametrize("signature", [None, 1, ["0" * 64]])
def test_what_has_no_signature_is_foreign(signature: object) -> None:
    assert "it is not signed" in str(why_foreign("command", {**FACTS, "signature": signature}))


def test_a_signature_of_a_model_is_none_of_a_command() -> None:
    assert why_foreign("command", signed("model", FACTS)) is not None


def test_a_depth_that_nobody_writes_is_foreign() -> None:
    deep: list[object] = []
    for _ in range(20_000):
        deep = [deep]
    assert why_foreign("command", {**signed("command", FACTS), "arguments": deep}) is not None


def test_another_users_key_signs_nothing_of_mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    theirs = signed("command", FACTS)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert why_foreign("command", theirs) is not None


def test_secrets_are_signed_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "planted-7f3a-secret")
    facts = signed("command", {**FACTS, "folder": "/home/me/planted-7f3a-secret"})
    assert facts["folder"] == "/home/me/***"
    monkeypatch.delenv("WANDB_API_KEY")
    assert why_foreign("command", facts) is None


@pytest.mark.parametrize("damage", ["readable", "short", "long"])
def test_a_key_that_others_may_know_is_replaced(damage: str) -> None:
    before = signed("command", FACTS)
    if damage == "readable":
        key_file().chmod(0o644)
    else:
        key_file().write_bytes(b"x" * (5 if damage == "short" else 64))
    as_another_process()
    assert why_foreign("command", before) is not None
    after = signed("command", FACTS)
    as_another_process()
    assert why_foreign("command", after) is None
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    assert [path.name for path in key_file().parent.iterdir()] == ["key"]


@pytest.mark.parametrize("place", ["a file", "a link", "a pipe", "a key of another user"])
def test_where_no_key_can_be_kept_only_this_process_knows_its_own(
    place: str, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = state / "slipway"
    if place == "a file":
        state.write_text("in the way")
    else:
        folder.mkdir(parents=True)
    if place == "a link":
        (tmp_path / "theirs").write_bytes(b"k" * 32)
        (tmp_path / "theirs").chmod(0o600)
        (folder / "key").symlink_to(tmp_path / "theirs")
    elif place == "a pipe":
        os.mkfifo(folder / "key", 0o600)
    elif place == "a key of another user":
        (folder / "key").write_bytes(b"k" * 32)
        (folder / "key").chmod(0o600)
        other = os.geteuid() + 1
        monkeypatch.setattr("os.geteuid", lambda: other)
    facts = signed("command", FACTS)
    assert why_foreign("command", facts) is None
    as_another_process()
    assert ("XDG_STATE_HOME names another folder" in str(why_foreign("command", facts))) == (
        place in ("a file", "a pipe")
    )


def test_processes_that_start_at_once_have_one_key(state: Path) -> None:
    code = "from slipway.training.common.program.trust import signed; print(signed('task', {'name': 'a'}))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(state)}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert len({process.communicate(timeout=HANG_SECONDS)[0] for process in started}) == 1
    assert [path.name for path in key_file().parent.iterdir()] == ["key"]

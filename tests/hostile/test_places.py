"""Folders that somebody else prepared: a repository with programs of its own, links where files are written, devices."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from slipway import UserError
from slipway.launcher import cli
from slipway.training.inspection.inspect import write_text
from slipway.training.run.opening.provenance import script_commit
from slipway.training.storage.files import replaced, write_json
from tests.hostile.proof import MARKER, marks


def git(folder: Path, *arguments: str) -> None:
    own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", *own, *arguments], cwd=folder, check=True, capture_output=True)


def repository(folder: Path) -> Path:
    folder.mkdir()
    git(folder, "init")
    (folder / "train.py").write_text("1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "one")
    return folder


def set_traps(folder: Path, tmp_path: Path) -> None:
    """Have all that git runs for a repository make the marker, and have it look at each file."""
    touch = f"touch {tmp_path / MARKER}"
    for name, value in (
        ("core.fsmonitor", f"{touch}; false"),
        ("core.hooksPath", str(tmp_path / "hooks")),
        ("filter.trap.clean", f"{touch}; cat"),
        ("filter.trap.process", touch),
        ("filter.trap.required", "true"),
        ("core.pager", touch),
        ("diff.external", touch),
    ):
        git(folder, "config", name, value)
    (folder / ".git" / "info").mkdir(exist_ok=True)
    (folder / ".git" / "info" / "attributes").write_text("* filter=trap\n")
    os.utime(folder / "train.py", (1, 1))


@pytest.fixture
def trapped(tmp_path: Path) -> Path:
    """Return a repository, with one in it, that came with programs of its own."""
    (tmp_path / "hooks").mkdir()
    hook = tmp_path / "hooks" / "post-index-change"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path / MARKER}\n")
    hook.chmod(0o755)
    inner, outer = repository(tmp_path / "inner"), repository(tmp_path / "outer")
    git(outer, "submodule", "add", str(inner), "part")
    git(outer, "commit", "-m", "two")
    set_traps(outer, tmp_path)
    return outer


def test_the_commit_of_a_folder_is_noted_and_no_program_of_its_repository_runs(
    tmp_path: Path, trapped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trapped)
    assert not marks(tmp_path)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert script_commit(None) == commit
    assert script_commit(str(trapped / "train.py")) == commit
    (trapped / "train.py").write_text("2\n")
    assert script_commit(None) == f"{commit}+changes"
    assert not marks(tmp_path)
    subprocess.run(["git", "status"], capture_output=True, check=False)
    assert marks(tmp_path), "the trap is one"


@pytest.mark.parametrize("kind", ["a link", "a link to nothing", "a pipe"])
def test_a_file_is_not_written_through_what_stands_in_place_of_its_draft(tmp_path: Path, kind: str) -> None:
    mine = tmp_path / "authorized_keys"
    if kind == "a link":
        mine.write_text("mine")
    for write, name in ((write_text, "page.html"), (write_json, "facts.json")):
        draft = tmp_path / f"{name}.partial"
        os.mkfifo(draft) if kind == "a pipe" else draft.symlink_to(mine)
        write(tmp_path / name, "text" if write is write_text else {})  # type: ignore[operator]
        assert (tmp_path / name).is_file()
        assert not (tmp_path / name).is_symlink()
        assert not os.path.lexists(draft)
    assert (mine.read_text() if kind == "a link" else not mine.exists()) in ("mine", True)


def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "out.html"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match=r"is a device, a pipe or a socket; name a file .*out\.html"):
        write_text(pipe, "page")
    with pytest.raises(OSError, match="name a file"), replaced(pipe):
        pass
    os.mkfifo(tmp_path / "config.yaml")
    machine = Path(__file__).parents[1] / "launcher" / "fixtures" / "machines" / "8xh100.json"
    assert cli.main(["config", "--yes", "--hardware", str(machine), "--out", str(tmp_path / "config.yaml")]) == 2
    assert "config.yaml: is a device, a pipe or a socket; name a file" in capsys.readouterr().err
    assert pipe.is_fifo()
    assert (tmp_path / "config.yaml").is_fifo()
    assert len(list(tmp_path.iterdir())) == 2


def test_the_folder_of_a_user_who_is_not_there_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["data", "inspect", "~nobody9/x"], ["data", "convert", "~nobody9/x", "~nobody9/y"]):
        assert cli.main(command) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "this machine has no such user; write ./~nobody9/" in error
    assert not list(tmp_path.iterdir())

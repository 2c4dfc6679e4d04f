"""`run.json` names the versions and the commits of what computed a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import slipway
from slipway.training.run.opening import provenance
from slipway.training.run.opening.provenance import script_commit, script_files, slipway_commit, versions
from tests.conftest import ROOT


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository of the user's own, with a script, and an environment that git ignores."""
    folder = tmp_path / "project"
    (folder / "environment").mkdir(parents=True)
    for name, text in {"train.py": "", ".gitignore": "environment/\n", "environment/slipway": ""}.items():
        (folder / name).write_text(text)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_versions_name_what_computes_from_a_clone_too() -> None:
    assert versions()["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert versions()["slipway"] == slipway.__version__


def test_the_commit_of_slipway_is_that_of_its_own_code(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    monkeypatch.setattr(provenance, "__file__", str(project / "environment" / "provenance.py"))
    assert slipway_commit() is None


def test_the_commit_of_a_script_is_that_of_its_own_repository(
    monkeypatch: pytest.MonkeyPatch, project: Path, tmp_path: Path
) -> None:
    head = git(project, "rev-parse", "HEAD")
    monkeypatch.chdir(tmp_path)
    assert script_commit(str(project / "train.py")) == head
    (project / "more.py").write_text("")
    assert script_commit(str(project / "train.py")) == head
    assert script_commit(str(project / "more.py")) == f"{head}+changes"
    (project / "train.py").write_text("print()")
    assert script_commit(str(project / "train.py")) == f"{head}+changes"
    assert script_commit(str(tmp_path / "elsewhere.py")) is None
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    assert script_commit(str(tmp_path / "empty" / "train.py")) is None


@pytest.mark.parametrize("script", [None, str(ROOT / "bin" / "train.py"), "environment/slipway"])
def test_for_slipways_own_command_it_is_that_of_the_working_folder(
    monkeypatch: pytest.MonkeyPatch, project: Path, script: str | None
) -> None:
    monkeypatch.chdir(project)
    named = None if script is None else str(project / script)  # an absolute path stays as it is
    assert script_commit(named) == git(project, "rev-parse", "HEAD")


def test_the_users_own_files_are_told_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "서브").mkdir()
    script, helper = tmp_path / "script.py", tmp_path / "서브" / "helper.py"
    for path in (script, helper, tmp_path / "not_imported.py"):
        path.write_text("x = 1\n")
    for name, path in (("own_script", script), ("own_helper", helper)):
        module = ModuleType(name)
        module.__file__ = str(path)
        monkeypatch.setitem(sys.modules, name, module)
    before = script_files(str(script))
    assert before.keys() == {"script.py", "서브/helper.py"}
    helper.write_text("x = 2\n")
    after = script_files(str(script))
    assert after["script.py"] == before["script.py"]
    assert after["서브/helper.py"] != before["서브/helper.py"]
    monkeypatch.chdir(tmp_path)
    assert script_files(None) == after

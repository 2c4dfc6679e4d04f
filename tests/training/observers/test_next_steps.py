"""What is told at the end of a run can be pasted: it is found from the working folder, and does what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slipway.training.observers.next_steps import next_steps, typed_command
from tests.conftest import ROOT


def write_run(folder: Path, spec: dict[str, Any], **data: Any) -> Path:
    (folder / "best").mkdir(parents=True)
    (folder / "best" / "spec.json").write_text(json.dumps(spec))
    (folder / "run.json").write_text(json.dumps({"name": folder.name, "data": data}))
    return folder


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway.training.observers.next_steps.typed_command", lambda: "slipway")


@pytest.mark.usefixtures("named")
def test_a_run_in_the_usual_folder_is_named_and_another_has_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    write_run(Path("runs/signs"), {"layout": {}}, synthetic=True)
    assert next_steps(Path("runs/signs")) == [
        "slipway predict signs synthetic",
        "slipway export signs --to torch-export",
    ]
    write_run(Path("else where"), {"task": {}})
    assert next_steps(Path("else where"))[0] == "slipway predict 'else where' DATA"


@pytest.mark.usefixtures("named")
def test_of_a_run_without_weights_nothing_is_told_and_of_a_script_how_python_has_the_model(tmp_path: Path) -> None:
    assert next_steps(tmp_path) == []
    run = write_run(tmp_path / "own", {"make_model": {}})
    assert next_steps(run) == [f"slipway.load({str(run)!r})  # the model, in Python"]


def test_what_is_typed_here_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = Path(sys.executable).with_name("slipway")
    for folder in (tmp_path, ROOT):
        monkeypatch.chdir(folder)
        words = typed_command()
        assert subprocess.run(f"{words} --version", shell=True, capture_output=True, check=True).stdout
    if beside.exists():
        monkeypatch.setenv("PATH", str(beside.parent))
        assert typed_command() == "slipway"
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert typed_command().endswith(" -m slipway")

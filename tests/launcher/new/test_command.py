"""`slipway new`: what it writes runs by what it prints, and is as clean as the code here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.launcher.new.command import main
from slipway.training.common.errors import UserError
from tests.conftest import ROOT
from tests.limits import HANG_SECONDS

STRICT = """
[[tool.mypy.overrides]]
module = ["task", "test_task"]
disallow_any_generics = true
disallow_incomplete_defs = true
disallow_subclassing_any = true
disallow_untyped_calls = true
disallow_untyped_decorators = true
extra_checks = true
implicit_reexport = false
warn_return_any = true
"""
"""What `mypy --strict` adds to the settings here, for the project alone; the rest is in the cache of `make lint`."""


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(folder: str, *words: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "MYPYPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )


def test_a_new_project_trains_and_passes_its_test_by_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out
    assert "cd demo" in printed
    command = re.search(r"slipway (train --task task.py:make_task)", printed)
    assert command
    done = run("demo", "slipway", *command[1].split(), "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert Path("demo/runs/demo-default/best/model.safetensors").is_file()
    assert "project file slipway.yaml" in run("demo", "slipway", "train", "--explain").stdout
    assert run("demo", "pytest", "-p", "no:cacheprovider").returncode == 0


def test_what_is_written_is_formatted_typed_and_without_placeholders() -> None:
    assert main(["my-demo"]) == 0
    assert sorted(path.name for path in Path("my-demo").iterdir()) == [
        *(".gitignore", "README.md", "slipway.yaml", "task.py", "test_task.py")
    ]
    for path in Path("my-demo").iterdir():
        assert "$" not in path.read_text(encoding="utf-8")
    for check in (["ruff", "format", "--check", "."], ["ruff", "check", "--select", "E,F,W,I,UP,B,N,D1,RUF", "."]):
        done = run("my-demo", *check)
        assert done.returncode == 0, done.stdout
    files = [str(Path("my-demo", name).resolve()) for name in ("task.py", "test_task.py")]
    Path("strict.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8") + STRICT, encoding="utf-8")
    done = run(str(ROOT), "mypy", "--config-file", str(Path("strict.toml").resolve()), *files)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("there", "slipway new there: it is there already; choose another name, or remove it"),
        ("a b", "slipway new 'a b': a name begins with a letter of a to z or a digit"),
        (".hidden", "slipway new '.hidden': a name begins with a letter of a to z or a digit"),
        ("none/demo", "slipway new none/demo: there is no folder none; make it first"),
        ("/proc/demo", "slipway new /proc/demo: it cannot be written: "),
    ],
)
def test_a_project_that_cannot_be_written_is_one_sentence_and_leaves_nothing(name: str, message: str) -> None:
    Path("there").mkdir()
    with pytest.raises(UserError, match=re.escape(message)):
        main([name])
    assert [path.name for path in Path().iterdir()] == ["there"]

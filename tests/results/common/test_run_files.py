"""A run by its name: where it is found, what is read of it, and what is said where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from slipway import UserError
from slipway.results.common.run_files import find_run, read_run
from tests.conftest import ROOT


def make_run(folder: Path, **record: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"name": folder.name, "state": "running"} | record), encoding="utf-8")
    return folder


def test_a_run_is_found_by_its_path_and_by_its_name(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "hands")
    assert find_run(str(folder), Path("elsewhere"), "slipway report") == folder
    assert find_run("hands", tmp_path, "slipway report") == folder


def test_a_run_that_is_not_there_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    make_run(tmp_path / "hands")
    with pytest.raises(UserError, match=r"slipway report hand: no such run.*did you mean 'hands'"):
        find_run("hand", tmp_path, "slipway report")
    with pytest.raises(UserError, match=r"holds several runs; name one, such as .*hands"):
        find_run(str(tmp_path), Path("runs"), "slipway report")


def test_a_run_that_still_trains_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "hands")
    assert read_run(folder).events == []
    (folder / "events.jsonl").write_text('{"event": "run"}\n{"event": "st', encoding="utf-8")
    assert read_run(folder).events == [{"event": "run"}]


@pytest.mark.parametrize("content", ["[1]", "{}", '{"name": 3}', "nonsense", ""])
def test_a_record_that_is_none_is_refused_in_one_line_with_its_path(tmp_path: Path, content: str) -> None:
    path = make_run(tmp_path / "hands") / "run.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as refused:
        read_run(path.parent)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_reading_a_run_loads_no_torch() -> None:
    code = "import sys, slipway.results.common.run_files; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

"""The report at the end of a run: made by a process of its own, told last, and no failure of the run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from slipway.training.observers.events import RunEnd
from slipway.training.observers.report import Reporter, make_reports
from tests.conftest import ROOT
from tests.results.report.runs import train_small


class Told:
    """What a person is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, level: int, kind: str, text: str) -> None:
        self.lines.append(text)

    def show_report(self, path: Path, steps: Sequence[str]) -> None:
        self.lines.append(str(path))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_small(tmp_path_factory.mktemp("runs"), ("a", "b"))


def end(folder: Path, told: Told) -> None:
    """End a run whose report is asked for."""
    reporter = Reporter(told)
    reporter._folders = [folder]
    reporter.close()
    reporter.close()


def test_a_training_prints_the_path_of_its_report_last(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from tests.results.report.runs import train_small; train_small(pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    report = next(tmp_path.glob("*/report.html"))
    assert done.stdout.splitlines()[-1] == f"report: {report}"
    assert done.stdout.splitlines()[-2] == f"next: slipway.load({str(report.parent)!r})  # the model, in Python"
    assert not list(report.parent.glob(".*part"))


def test_a_run_told_its_path_once(run: Path) -> None:
    told = Told()
    end(run, told)
    assert told.lines[-1] == str(run / "report.html")
    assert (run / "report.html").is_file()
    assert len([line for line in told.lines if line.endswith("report.html")]) == 1


def test_a_report_that_cannot_be_made_is_a_warning_with_the_command(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "run.json").write_text("nonsense")
    told = Told()
    end(broken, told)
    assert len(told.lines) == 1
    assert "no report was made" in told.lines[0]
    assert f"`slipway report {broken}` tries again" in told.lines[0]


def test_modules_of_the_working_folder_are_not_taken(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("slipway", "json", "resvg_py", "rich"):
        (tmp_path / f"{name}.py").write_text("raise AssertionError('the user\\'s own was imported')")
    monkeypatch.chdir(tmp_path)
    assert make_reports([run], lambda remark: None) == ""


def test_a_report_that_takes_for_ever_is_given_up(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway.training.observers.report._LONGEST_SECONDS", 0.0)
    assert "longer" in make_reports([run], lambda remark: None)


def test_a_folder_without_a_record_gets_no_report(tmp_path: Path) -> None:
    told = Told()
    reporter = Reporter(told)
    reporter.on_run_end(RunEnd(result={}, folder=tmp_path))
    reporter.close()
    assert told.lines == []

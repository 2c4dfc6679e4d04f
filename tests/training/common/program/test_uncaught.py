"""A program ends by one line for what the user can mend, by a traceback and where to report it for a fault of ours."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slipway.launcher import cli
from slipway.launcher.hardware import command
from slipway.training.batches.order import permute
from slipway.training.common.errors import EXIT_BAD_INPUT, EXIT_FAILED, TrainingFailed, UserError
from slipway.training.common.program.doors import REPORT
from slipway.training.common.program.uncaught import end_scripts_in_one_line, prints


@pytest.fixture(autouse=True)
def hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.excepthook", sys.__excepthook__)
    monkeypatch.setattr("sys.argv", ["train.py"])
    monkeypatch.delenv("SLIPWAY_DEBUG", raising=False)
    end_scripts_in_one_line()


def end_by(error: BaseException | None) -> int | None:
    """Show an error as Python does at the end of a program; return the exit code that this gives, None for Python's own."""
    assert error is not None
    end = raised(sys.excepthook, type(error), error, error.__traceback__)
    return end.code if isinstance(end, SystemExit) else None  # type: ignore[return-value]


def raised(function: Callable[..., object], *arguments: object) -> BaseException | None:
    try:
        function(*arguments)
    except BaseException as error:
        return error
    return None


@pytest.mark.parametrize(("kind", "code"), [(UserError, EXIT_BAD_INPUT), (TrainingFailed, EXIT_FAILED)])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(
    kind: type[Exception], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = raised(_raise, kind("no data"))
    assert end_by(error) == code
    assert capsys.readouterr().err == "error: no data\n"
    monkeypatch.setattr("sys.argv", ["train.py", "--debug"])
    assert end_by(error) == code
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert REPORT not in shown


def test_a_fault_of_ours_says_how_to_report_it_and_one_of_the_users_code_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_by(raised(permute, "positions", 3, 0)) is None
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith(f"{REPORT}\n")
    script = tmp_path / "mine.py"
    script.write_text("1 / 0\n", encoding="utf-8")
    assert end_by(raised(exec, compile(script.read_text(), str(script), "exec"))) is None
    shown = capsys.readouterr().err
    assert "ZeroDivisionError" in shown
    assert REPORT not in shown


def test_the_launchers_commands_end_in_the_same_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["detect", "--hardware", "/nowhere.json", "--debug"]) == EXIT_BAD_INPUT
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert REPORT not in shown
    assert cli.main(["data", "inspect", "--debug", "/nowhere"]) == EXIT_BAD_INPUT
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setattr(command, "load_hardware", lambda path: None)
    assert cli.main(["detect", "--json"]) == EXIT_FAILED
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith(f"{REPORT}\n")


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("rank", "size", "is_told"),
    [("0", "2", True), ("1", "2", False), ("1", "1", True), ("x", "many", True), ("1", "many", True), ("5", "2", True)],
)
def test_an_error_is_told_where_the_environment_gives_no_place_in_a_launch(
    monkeypatch: pytest.MonkeyPatch, rank: str, size: str, is_told: bool
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    assert prints() is is_told

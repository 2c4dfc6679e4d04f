"""`slipway launch --max-restarts`: what is started again, from where, on what, and when it is given up."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway.launcher import cli
from slipway.launcher.launch import restarts
from slipway.launcher.launch.restarts import (
    Attempt,
    is_crash,
    is_same_failure,
    newest_step,
    pause_seconds,
)
from slipway.launcher.launch.state_files import PROGRESS_FILE, LaunchProgress, read_progress
from slipway.launcher.launch.supervise.outcome import Outcome
from slipway.launcher.launch.supervise.supervisor import GroupStart
from slipway.launcher.plan.replan import EarlierRun
from slipway.training.common.plan_file import LaunchPlan
from slipway.training.observers.events import RunResumed
from slipway.training.observers.launch_mark import MARK, LaunchMark
from tests.launcher.machines import machines
from tests.launcher.plan.test_replan import without


def failed(**facts: Any) -> Outcome:
    return Outcome(**{"exit_code": 1, "failed_rank": 0, "failure": "exception", "error": "ValueError: no", **facts})


def killed(signum: int = 9, **facts: Any) -> Outcome:
    return failed(exit_code=128 + signum, failure="signal", code=signum, error="", **facts)


def attempt(outcome: Outcome, step: int | None = None, seconds: float = 100.0) -> Attempt:
    return Attempt(outcome=outcome, seconds=seconds, step=step)


@pytest.mark.parametrize(
    ("outcome", "crashed"),
    [
        (failed(), True),
        (killed(signal.SIGKILL), True),
        (killed(signal.SIGSEGV), True),
        (Outcome(exit_code=42, failed_rank=1, failure="exit", code=42), True),
        (Outcome(exit_code=1, failure="agent"), True),
        (Outcome(exit_code=0), False),
        (Outcome(exit_code=2, failed_rank=0, failure="exit", code=2), False),
        (Outcome(exit_code=75), False),
        (Outcome(exit_code=75, stopped_by=signal.SIGTERM), False),
        (Outcome(exit_code=143, stopped_by=signal.SIGTERM), False),
        (Outcome(exit_code=130, stopped_by=signal.SIGINT), False),
        # Somebody asked the processes themselves to stop, or the terminal went away.
        (killed(signal.SIGTERM), False),
        (killed(signal.SIGHUP), False),
        (Outcome(exit_code=130, failed_rank=0, failure="exit", code=130), False),
    ],
)
def test_only_a_crash_is_started_again(outcome: Outcome, crashed: bool) -> None:
    assert is_crash(outcome) is crashed


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (attempt(killed(), 57), attempt(killed(), 57), True),
        (attempt(killed(), 57), attempt(killed(), 58), False),
        (attempt(killed(), 57), attempt(killed(signal.SIGSEGV), 57), False),
        (attempt(killed(), 57), attempt(killed()), False),
        (attempt(failed(failed_rank=0), 57), attempt(failed(failed_rank=3), 57), True),
        (
            attempt(failed(error="E: 3 of tensor at 0x7f3a"), 5),
            attempt(failed(error="E: 14 of tensor at 0x81"), 5),
            True,
        ),
        (attempt(failed(error="KeyError: 'a'"), 5), attempt(failed(error="KeyError: 'b'"), 5), False),
        # Where no step is known the time stands for it.
        (attempt(failed(), seconds=100.0), attempt(failed(), seconds=115.0), True),
        (attempt(failed(), seconds=100.0), attempt(failed(), seconds=300.0), False),
        (attempt(failed(), seconds=300.0), attempt(failed(), seconds=100.0), False),
        (attempt(failed(), seconds=0.1), attempt(failed(), seconds=1.9), True),
        (attempt(failed(failure="lost peer")), attempt(failed(failure="lost peer")), False),
        (attempt(failed(failure="lost peer"), 5), attempt(failed(failure="lost peer"), 5), True),
    ],
)
def test_the_same_failure_is_the_same_reason_at_the_same_step(one: Attempt, other: Attempt, same: bool) -> None:
    assert is_same_failure(one, other) is same


def test_the_pause_grows_to_half_a_minute() -> None:
    assert [pause_seconds(restart) for restart in (1, 2, 3, 4, 5, 6, 7, 10_000)] == [1, 2, 4, 8, 16, 30, 30, 30]


def test_the_training_s_mark_is_what_the_launcher_reads(tmp_path: Path) -> None:
    assert MARK == PROGRESS_FILE
    assert read_progress(tmp_path) is None
    first, second = tmp_path / "runs" / "one\nfold", tmp_path / "runs" / "b"
    one = LaunchMark(str(tmp_path), first)
    one.on_step(SimpleNamespace(step=12))  # type: ignore[arg-type]
    assert read_progress(tmp_path) == LaunchProgress(step=12, runs=(first,))
    one.close()
    other = LaunchMark(str(tmp_path), second)
    other.on_run_resumed(RunResumed(step=1_000_000, processes=1, reason="asked to"))
    assert read_progress(tmp_path) == LaunchProgress(step=1_000_000, runs=(first, second))
    other.close()
    (tmp_path / PROGRESS_FILE).write_text("")
    assert read_progress(tmp_path) is None


def test_the_steps_of_a_study_s_runs_are_counted_on(tmp_path: Path) -> None:
    mark = LaunchMark(str(tmp_path), tmp_path / "study")
    mark.count_finished(100)
    for step in (1, 30):
        mark.on_step(SimpleNamespace(step=step))  # type: ignore[arg-type]
    mark.on_run_end(SimpleNamespace())  # type: ignore[arg-type]
    mark.on_step(SimpleNamespace(step=5))  # type: ignore[arg-type]
    mark.close()
    assert read_progress(tmp_path) == LaunchProgress(step=135, runs=(tmp_path / "study",))


def test_without_a_launch_there_is_no_mark(tmp_path: Path) -> None:
    for folder in (None, str(tmp_path / "gone")):
        mark = LaunchMark(folder, tmp_path)
        mark.on_step(SimpleNamespace(step=1))  # type: ignore[arg-type]
        mark.close()
    assert list(tmp_path.iterdir()) == []


def test_it_goes_on_from_the_newest_checkpoint_of_the_newest_run(tmp_path: Path) -> None:
    assert newest_step([]) is None
    assert newest_step([tmp_path / "a"]) == 0
    for name in ("a/checkpoints/000009-step-900", "b/checkpoints/000002-step-30", "b/checkpoints/000010-step-20"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "b" / "checkpoints" / ".000011-step-99").mkdir()
    assert newest_step([tmp_path / "a", tmp_path / "b"]) == 20  # the numbers before the step count the checkpoints
    (tmp_path / "b" / "run.json").touch()
    assert newest_step([tmp_path]) is None  # a study goes on with one of its runs


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[GroupStart]]:
    """Return what makes the processes of a launch end in these ways, one after the other; it returns what was started."""
    started: list[GroupStart] = []

    def set_up(*outcomes: Outcome | Callable[[GroupStart], Outcome]) -> list[GroupStart]:
        left = list(outcomes)

        def run(what: GroupStart, queue: object, peers: object) -> Outcome:
            started.append(what)
            end = left.pop(0)
            return end if isinstance(end, Outcome) else end(what)

        monkeypatch.setattr(restarts, "run_group", run)
        monkeypatch.setattr(restarts, "pause_seconds", lambda restart: 0.0)
        return started

    return set_up


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").touch()
    return tmp_path


def training(step: int, run_folder: Path, outcome: Outcome) -> Callable[[GroupStart], Outcome]:
    """Return processes that train a run up to a step."""

    def end(what: GroupStart) -> Outcome:
        mark = LaunchMark(str(what.folder), run_folder)
        mark.on_step(SimpleNamespace(step=step))  # type: ignore[arg-type]
        mark.close()
        return outcome

    return end


def resumed_by_plan(start: GroupStart) -> str | None:
    """Return the run that the plan of a start goes on with."""
    plan = LaunchPlan.from_json((start.folder / "plan.json").read_text())
    assert start.environment["SLIPWAY_PLAN"] == str(start.folder / "plan.json")
    return plan.resume


def test_with_a_gpu_lost_it_goes_on_with_seven(
    ends: Callable[..., list[GroupStart]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = machines()["8xh100"]
    there = [whole, without(whole, 3)]
    for module in ("launcher.launch.launching", "launcher.hardware.detect"):
        monkeypatch.setattr(f"slipway.{module}.load_hardware", lambda path: there.pop(0))
    run_folder = folder / "runs" / "mine"
    (run_folder / "checkpoints" / "000002-step-40").mkdir(parents=True)
    started = ends(training(57, run_folder, killed(failed_rank=3, num_processes=8)), Outcome(exit_code=0))
    assert cli.main(["launch", "--num-processes", "8", "--max-restarts", "2", "train.py"]) == 0
    first, second = started
    assert [one.num_processes for one in started] == [8, 7]
    assert json.loads((second.folder / "plan.json").read_text())["num_processes"] == 7
    assert second.folder == first.folder / "restart_1"
    assert "SLIPWAY_RESTART" not in first.environment
    assert [resumed_by_plan(one) for one in started] == [None, str(run_folder)]
    assert second.environment["SLIPWAY_RESTART"] == "1"
    assert second.environment["SLIPWAY_LAUNCH_FOLDER"] == str(second.folder)
    said = capsys.readouterr().err
    assert "restart 1 of 2 in 0 s from step 40: rank 3 failed after step 57: killed by SIGKILL\n" in said
    assert "7 cuda devices, without cuda 3 (NVIDIA H100 80GB HBM3): 7 processes instead of 8\n" in said
    assert said.endswith("2 starts:\n  1, 0 s: rank 3 failed after step 57: killed by SIGKILL\n  2, 0 s: finished\n")


def test_with_no_gpu_left_it_gives_up_with_the_exit_code_of_the_crash(
    ends: Callable[..., list[GroupStart]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = machines()["8xh100"]
    there = [whole, without(whole, *range(8))]
    for module in ("launcher.launch.launching", "launcher.hardware.detect"):
        monkeypatch.setattr(f"slipway.{module}.load_hardware", lambda path: there.pop(0))
    started = ends(killed(signal.SIGBUS))
    assert cli.main(["launch", "--max-restarts", "2", "train.py"]) == 128 + signal.SIGBUS
    assert len(started) == 1
    assert "given up: --device cuda: this machine has no accelerator\n" in capsys.readouterr().err


def test_the_same_step_twice_for_the_same_reason_is_given_up(
    ends: Callable[..., list[GroupStart]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder = folder / "runs" / "mine"
    crashes = [
        training(57, run_folder, killed()),
        training(57, run_folder, failed(error="RuntimeError: 3 left")),
        training(60, run_folder, failed(error="RuntimeError: 2 left")),
        training(60, run_folder, failed(error="RuntimeError: 1 left")),
    ]
    assert len(ends(*crashes)) == 0
    assert cli.main(["launch", "--max-restarts", "9", "train.py"]) == 1
    said = capsys.readouterr().err
    assert "restart 3 of 9 in 0 s from the start: the process failed after step 60: RuntimeError: 2 left\n" in said
    assert "given up: it failed twice after step 60 for the same reason, RuntimeError: 1 left\n" in said
    assert "4 starts:\n" in said


def test_a_script_of_several_runs_finds_each_by_its_name(ends: Callable[..., list[GroupStart]], folder: Path) -> None:
    one, two = folder / "runs" / "fold-1", folder / "runs" / "fold-2"

    def both(what: GroupStart) -> Outcome:
        training(9, one, failed())(what)
        return training(4, two, failed())(what)

    started = ends(both, training(5, two, killed()), Outcome(exit_code=0))
    assert cli.main(["launch", "--max-restarts", "9", "train.py", "--resume", "auto"]) == 0
    assert [resumed_by_plan(run) for run in started] == [None, "auto", "auto"]
    assert [run.argv[-1] for run in started] == ["auto"] * 3


def test_a_resumed_run_that_crashes_before_it_begins_is_resumed_again(
    ends: Callable[..., list[GroupStart]], folder: Path
) -> None:
    from slipway.launcher.launch.command import add_launch_options, start
    from slipway.training.common.parser import make_parser

    parser = make_parser("launch", "")
    add_launch_options(parser)
    options = parser.parse_args(["--max-restarts", "1"])
    started = ends(killed(), Outcome(exit_code=0))
    earlier = EarlierRun(folder=folder / "runs" / "mine", device="cpu", world_size=1)
    assert start(options, ["train.py", "--resume=auto"], earlier) == 0
    assert [resumed_by_plan(run) for run in started] == [str(earlier.folder)] * 2
    assert [run.argv[-1] for run in started] == ["--resume=auto"] * 2, "the words of the command stay"


@pytest.mark.parametrize(("is_known", "code"), [(False, 128 + signal.SIGTERM), (True, 75)])
def test_a_signal_between_two_starts_ends_it_at_once(
    is_known: bool,
    code: int,
    ends: Callable[..., list[GroupStart]],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    started = ends(training(5, folder / "runs" / "mine", killed()) if is_known else killed())
    monkeypatch.setattr(restarts, "pause_seconds", lambda restart: 600.0)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    assert cli.main(["launch", "--max-restarts", "9", "train.py"]) == code
    timer.join()
    assert len(started) == 1
    assert f"stopped by SIGTERM{', resumable' if is_known else ''}\n" in capsys.readouterr().err


def test_a_dry_run_tells_of_restarts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["launch", "--dry-run", "--json", "--max-restarts", "3", "train.py"]) == 0
    assert "after a crash it starts again, 3 times at most" in json.loads(capsys.readouterr().out)["notes"]


def test_a_negative_number_of_restarts_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["launch", "--max-restarts", "-1", "train.py"]) == 2
    assert capsys.readouterr().err == "error: slipway launch: --max-restarts -1: must be from 0 to 1,000,000\n"

"""`slipway runs`: what a list of runs tells of each, in which order, of which runs, and at which width."""

from __future__ import annotations

import fcntl
import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from slipway.launcher import cli
from slipway.results.runs.summary import read_summaries
from slipway.results.runs.table import columns_of, draw, fitting
from tests.launcher.helpers import assert_one_line_error
from tests.results.runs.runs import listed, make_run


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_that_says_running_and_is_held_by_nobody_is_dead(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("at-work", "gone", "old"):
        run = make_run(project, name)
        (run / "lock").touch()
    (run / "lock").unlink()  # a file system without locks, or another machine's
    with (project / "runs" / "at-work" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        states = {name: run["state"] for name, run in listed(capsys).items()}
    assert states == {"at-work": "running", "gone": "dead", "old": "dead"}
    assert listed(capsys)["at-work"]["state"] == "dead"


def test_a_run_is_told_by_its_record_its_journal_and_its_checkpoints(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = [{"name": "warm"}, {"name": "settle"}]
    run = make_run(project, "mine", state="interrupted", recipe={"stages": stages})
    for name in ("000009-step-70", "000010-step-80", ".000011-step-90"):
        (run / "checkpoints" / name).mkdir(parents=True)
    (run / "events.jsonl").write_text(
        '{"event": "step", "step": 84, "stage": 1}\n{"event": "epoch"}\n{"event": "step", "st'
    )
    result = {"steps": 240, "test_accuracy": 0.875}
    make_run(project, "done", state="finished", result=result)
    make_run(project, "fresh", state="failed", progress={})
    found = listed(capsys)
    parts = {
        name: (one["state"], one["stage"], one["step"], one["best"], one["checkpoint"]) for name, one in found.items()
    }
    assert parts == {
        "mine": ("interrupted", "settle", 84, 0.5, "000010-step-80"),
        "done": ("finished", "warm", 240, 0.875, None),
        "fresh": ("failed", None, None, None, None),
    }
    assert all(0 <= one["age_seconds"] < 60 for one in found.values())
    assert found["mine"]["folder"] == "runs/mine"


def test_the_best_value_of_a_run_stands_beside_the_name_of_its_metric(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = {"stages": [{"name": "warm"}], "monitor": "어긋남"}
    make_run(project, "now", recipe=recipe)
    make_run(project, "done", recipe=recipe, state="finished", result={"steps": 9, "validation_어긋남": 0.25})
    make_run(
        project, "tested", recipe=recipe, state="finished", result={"test_어긋남": 0.75, "validation_어긋남": 0.25}
    )
    make_run(project, "signs", recipe=recipe, state="finished", result={"test_accuracy": 0.9, "test_어긋남": 0.75})
    make_run(project, "study", recipe=recipe, study={"seeds": [0]}, result={"mean_test_어긋남": 0.125}, progress={})
    make_run(project, "fresh", progress={})
    assert {name: (one["best"], one["metric"]) for name, one in listed(capsys).items()} == {
        "now": (0.5, "validation_어긋남"),
        "done": (0.25, "validation_어긋남"),
        "tested": (0.75, "test_어긋남"),
        "signs": (0.9, "test_accuracy"),
        "study": (0.125, "mean_test_어긋남"),
        "fresh": (None, None),
    }


def test_the_table_has_the_newest_run_first_and_a_damaged_one_does_not_take_it_down(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, age in (("older", 7200), ("newer", 60), ("oldest", 200_000)):
        path = make_run(project, name) / "run.json"
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    (project / "runs" / "broken").mkdir()
    (project / "runs" / "broken" / "run.json").write_text("{")
    (project / "runs" / ".launches" / "x").mkdir(parents=True)
    assert cli.main(["runs"]) == 0
    captured = capsys.readouterr()
    lines = [line.split() for line in captured.out.splitlines()]
    assert lines[0] == ["validation"]
    assert lines[1] == ["run", "state", "stage", "step", "accuracy", "devices", "age"]
    assert lines[2] == ["newer", "dead", "warm", "12", "50.0", "%", "1", "cpu", "1", "min"]
    assert [line[0] for line in lines[2:]] == ["newer", "older", "oldest"]
    assert captured.err == "runs/broken/run.json: not the record of a run\n"


def finished(folder: Path, name: str, rate: float, minutes: int, *, processes: int = 1, **metrics: float) -> Path:
    """Write a run that trained for so many minutes, at 64 samples a second at its end."""
    run = make_run(
        folder,
        name,
        state="finished",
        progress={},
        started=f"2026-11-{minutes:02}T10:00:00+00:00",
        config={"learning_rate": rate, "quick_test": True},
        recipe={"monitor": "r2", "stages": [{"name": "warm"}], "resolution": {"global_batch_size": 32}},
        plan={"device": "cuda", "world_size": processes},
        result={"steps": 4, "seconds": 60.0 * minutes, **metrics},
    )
    step = '{{"event": "step", "time_seconds": {}, "step": {}, "stage": 0, "samples_per_rank": [16, 16]}}\n'
    (run / "events.jsonl").write_text("".join(step.format(10 + number / 2, number) for number in range(5)))
    return run


@pytest.fixture
def several(project: Path) -> Path:
    """Return a folder with three finished runs of a task that measures R2, and one that trains a classifier."""
    finished(project, "wide-10", 0.01, 3, test_r2=0.8, test_loss=0.2, validation_r2=0.7)
    finished(project, "wide-9", 0.02, 12, test_r2=0.9, test_loss=0.3, processes=4)
    finished(project, "narrow", 0.02, 1, test_r2=-0.5, test_loss=0.1)
    oldest = make_run(project, "classes", parent="wide-9") / "run.json"
    os.utime(oldest, (oldest.stat().st_atime, oldest.stat().st_mtime - 100))
    return project


def names(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    return list(listed(capsys, *arguments))


def test_every_metric_is_named_with_rate_batch_devices_duration_and_parent(
    several: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = listed(capsys)
    wide = found["wide-9"]
    assert wide["metrics"] == {"test_r2": 0.9, "test_loss": 0.3}
    assert (wide["samples_per_second"], wide["batch_size"]) == (64.0, 32)
    assert (wide["num_processes"], wide["device"], wide["duration_seconds"]) == (4, "cuda", 720.0)
    assert found["classes"]["parent"] == "wide-9"
    assert cli.main(["runs"]) == 0
    table = capsys.readouterr().out
    row = next(line.split() for line in table.splitlines() if line.startswith("wide-9"))
    assert row == [
        "wide-9",
        "finished",
        "warm",
        "4",
        "0.9000",
        "0.3000",
        "64.0",
        "32",
        "4",
        "cuda",
        "12:00",
        "0",
        "s",
        "2026-11-12",
        "10:00",
    ]
    assert table.splitlines()[1].split()[4:7] == ["r2", "accuracy", "loss"]


def test_runs_are_sorted_by_any_value_and_those_without_it_come_last(
    several: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert names(capsys, "--sort", "r2") == ["narrow", "wide-10", "wide-9", "classes"]
    assert names(capsys, "--sort", "-r2") == ["wide-9", "wide-10", "narrow", "classes"]
    assert names(capsys, "--sort", "-started") == ["wide-9", "wide-10", "narrow", "classes"]
    assert names(capsys, "--sort=-test_loss") == ["wide-9", "wide-10", "narrow", "classes"]
    assert names(capsys, "--sort", "name") == ["classes", "narrow", "wide-9", "wide-10"]
    assert names(capsys, "--sort", "learning-rate")[0] == "wide-10"


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["r2>0.8"], ["wide-9"]),
        (["r2 >= 80%"], ["wide-9", "wide-10"]),
        (["state=finished", "duration<5min"], ["narrow", "wide-10"]),
        (["state!=finished"], ["classes"]),
        (["name=wide-*"], ["wide-9", "wide-10"]),
        (["learning_rate=2e-2"], ["narrow", "wide-9"]),
        (["devices=4"], ["wide-9"]),
        (["started>=2026-11-03"], ["wide-9", "wide-10"]),
        (["parent=wide-9"], ["classes"]),
        (["parent="], ["narrow", "wide-9", "wide-10"]),
        (["quick_test=true"], ["narrow", "wide-9", "wide-10"]),
        (["age<1h", "validation_r2<1"], ["wide-10"]),
    ],
)
def test_conditions_choose_the_runs(
    several: Path, capsys: pytest.CaptureFixture[str], conditions: list[str], expected: list[str]
) -> None:
    words = [word for condition in conditions for word in ("--where", condition)]
    assert names(capsys, *words, "--sort", "name") == expected


def test_names_choose_the_runs(several: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert names(capsys, "narrow", "cl*", "--sort", "name") == ["classes", "narrow"]
    assert names(capsys, "nothing") == []
    assert cli.main(["runs", "--where", "r2>5"]) == 0
    assert capsys.readouterr() == ("", "none of 4 runs in runs is as asked\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--where", "r2"], "give a name, one of = != < <= > >= and a value, in quotes, as a shell takes > for a file"),
        (
            ["--where", "acuracy>0.9"],
            "--where acuracy: no run has it (did you mean 'accuracy'?); there are name, state",
        ),
        (["--where", "r2>high"], "--where r2>high: r2 is a number; 'high' is none"),
        (["--where", "state>finished"], "state is text; compare it by = or !=, with * for any letters"),
        (["--sort", "-acuracy"], "--sort acuracy: no run has it (did you mean 'accuracy'?)"),
        (["--columns", "name,learning_rat"], "no run has it (did you mean 'learning_rate'?)"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(
    several: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert_one_line_error(["runs", *words], message, capsys)


def test_the_columns_that_fit_are_shown_and_the_others_named(several: Path) -> None:
    runs, _ = read_summaries(several / "runs")
    columns = columns_of(runs)
    for width in (40, 60, 80, 200):
        kept, left_out = fitting(columns, width)
        console = Console(width=width, file=io.StringIO())
        console.print(draw(kept))
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert max(map(len, lines)) <= width
        assert len(lines) == 2 + len(runs), "nothing is folded"
        assert len(kept) + len(left_out) == len(columns)
        assert [column.name for column in kept][:2] == ["run", "state"]
    assert left_out == []
    assert {"test r2", "validation accuracy", "duration", "parent"} <= {one.name for one in fitting(columns, 80)[0]}


def test_a_long_name_is_folded_and_not_cut(project: Path) -> None:
    make_run(project, "x" * 150)
    runs, _ = read_summaries(project / "runs")
    console = Console(width=60, file=io.StringIO())
    console.print(draw(fitting(columns_of(runs), 60)[0]))
    assert console.file.getvalue().count("x") == 150  # type: ignore[attr-defined]


def test_columns_are_chosen_by_name_and_a_sorted_value_has_its_own(
    several: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["runs", "--columns", "run,learning_rate,rate,r2", "--sort", "name"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["run", "learning", "rate", "samples/s", "r2"]
    assert lines[2] == ["narrow", "0.02", "64.0", "-0.5000"]
    assert cli.main(["runs", "--sort", "learning_rate"]) == 0
    assert "learning rate" in capsys.readouterr().out


def test_where_there_is_no_run_it_says_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_one_line_error(["runs"], "--runs-dir runs: no such folder", capsys)
    (project / "runs").mkdir()
    assert cli.main(["runs"]) == 0
    assert capsys.readouterr() == ("", "no runs in runs\n")
    assert listed(capsys) == {}

"""`--resume`: which run or checkpoint is meant, what may differ, and that nothing but the rest is trained."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from slipway.training.common.run_names import newest_run, resolve_name
from slipway.training.observers.journal import lineage
from slipway.training.run.opening.resume import differences_of, find_run
from slipway.training.storage import checkpoint
from slipway.training.storage.checkpoint import Content, newest_checkpoint, read_state, read_tensors, write_checkpoint
from tests.training.helpers import catch
from tests.training.misbehaviour import (
    NAME,
    error_of,
    events_of,
    record_of,
    run,
    run_saving,
    send,
    steps_of,
    weights_of,
)
from tests.training.processes import run_group, started

ALL_STEPS = list(range(1, 13))


@pytest.fixture(autouse=True)
def as_if_alone(training_in_this_process: None) -> None:
    """Each test may train in this process."""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with one that was stopped after 5 steps, saved after 2 and 4 too. Copied before it is used."""
    runs_dir = tmp_path_factory.mktemp("stopped")
    arguments = ["--runs-dir", str(runs_dir), "--keep", "9"]
    act = partial(send, signal.SIGTERM, 5, 0)
    assert run_group(1, runs_dir / "output", run_saving, arguments, act) == [75]
    shutil.rmtree(runs_dir / "output")
    return runs_dir


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    """The weights of the same run, not stopped."""
    runs_dir = tmp_path_factory.mktemp("whole")
    assert run_group(1, runs_dir / "output", run, ["--runs-dir", str(runs_dir)]) == [0]
    return weights_of(runs_dir)


@pytest.fixture
def runs_dir(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "runs"))


def content_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return every file below a folder with its time."""
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def resumes_of(runs_dir: Path) -> list[int]:
    return [event["step"] for event in events_of(runs_dir) if event["event"] == "resume"]


def last_step(runs_dir: Path) -> int:
    return steps_of(runs_dir)[-1]


@pytest.mark.parametrize("how", ["auto", "name", "folder", "relative"])
def test_a_run_goes_on_by_auto_its_name_or_its_folder(
    runs_dir: Path, whole: torch.Tensor, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs_dir.parent)
    named = {"auto": "auto", "name": NAME, "folder": str(runs_dir / NAME), "relative": f"runs/{NAME}"}[how]
    before = last_step(runs_dir)
    assert run(["--runs-dir", str(runs_dir), "--resume", named]) == 0
    assert resumes_of(runs_dir) == [before]
    assert [path.name for path in runs_dir.iterdir()] == [NAME]
    assert [event["step"] for event in lineage(events_of(runs_dir))] == steps_of(runs_dir) == ALL_STEPS
    assert torch.equal(weights_of(runs_dir), whole)
    assert len(record_of(runs_dir)["resumed"]) == 1


def test_an_older_checkpoint_that_is_named_takes_the_place_of_the_newer_ones(
    runs_dir: Path, whole: torch.Tensor
) -> None:
    (older,) = (runs_dir / NAME / "checkpoints").glob("*-step-2")
    act = partial(send, signal.SIGKILL, 1, 0)  # before it has saved again
    assert run_group(1, runs_dir / "output", run, ["--resume", str(older)], act) == [-signal.SIGKILL]
    assert resumes_of(runs_dir) == [2]
    assert run(["--runs-dir", str(runs_dir), "--resume", "auto"]) == 0
    assert resumes_of(runs_dir) == [2, 2]
    events = events_of(runs_dir)
    assert [event["step"] for event in lineage(events)] == ALL_STEPS
    assert len(steps_of(runs_dir)) > len(ALL_STEPS)
    assert torch.equal(weights_of(runs_dir), whole)


def test_auto_starts_afresh_where_there_is_nothing(tmp_path: Path, whole: torch.Tensor) -> None:
    assert run(["--runs-dir", str(tmp_path), "--resume", "auto"]) == 0
    assert resumes_of(tmp_path) == []
    assert torch.equal(weights_of(tmp_path), whole)


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again_in_the_same_folder(
    tmp_path: Path, whole: torch.Tensor
) -> None:
    act = partial(send, signal.SIGKILL, 3, 0)
    arguments = ["--runs-dir", str(tmp_path), "--save-every", "never"]
    assert run_group(1, tmp_path / "output", run, arguments, act) == [-signal.SIGKILL]
    assert record_of(tmp_path)["state"] == "running"
    assert run([*arguments, "--resume", "auto"]) == 0
    assert resumes_of(tmp_path) == [0]
    assert not (tmp_path / f"{NAME}-2").exists()
    assert [event["step"] for event in lineage(events_of(tmp_path))] == ALL_STEPS
    assert torch.equal(weights_of(tmp_path), whole)


def test_auto_takes_the_newest_of_the_experiment_and_no_other(tmp_path: Path) -> None:
    for name in ("run", "run-2", "run-10", "run-x", "runner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
    (tmp_path / "run-11").mkdir()
    assert newest_run(tmp_path, "run") == tmp_path / "run-10"
    assert newest_run(tmp_path, "absent") is None
    assert newest_run(tmp_path / "absent", "run") is None


def test_a_finished_run_exits_0_and_stays_as_it_is(runs_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--runs-dir", str(runs_dir), "--resume", "auto"]) == 0
    before = content_of(runs_dir)
    capfd.readouterr()
    for named in ("auto", str(runs_dir / NAME)):
        assert run(["--runs-dir", str(runs_dir), "--resume", named, "--log-level", "info"]) == 0
        told = capfd.readouterr()
        assert "run is finished: nothing is left to train" in told.err
        assert "best weights" in told.out
    assert run_group(2, runs_dir.parent / "output", run, ["--runs-dir", str(runs_dir), "--resume", "auto"]) == [0, 0]
    assert content_of(runs_dir) == before
    # More epochs are another run, however they are asked for.
    code = run(["--runs-dir", str(runs_dir), "--resume", "auto", "--epochs", "4", "--allow-recipe-change"])
    assert "run: it is finished, with another recipe (stages[0].epochs 3 -> 4)" in error_of(capfd, code)
    assert content_of(runs_dir) == before


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--learning-rate", "0.01"], "optimizer.learning_rate 0.02 -> 0.01"),
        (["--seed", "1", "--max-steps", "9"], "max_steps None -> 9, seed 0 -> 1"),
        (["--epochs", "4"], "stages[0].epochs 3 -> 4"),
        (["--quick-test", "--stages-config", "aggressive"], "1 stages -> 2"),
        (["--mixed-precision", "bf16"], "mixed_precision no -> bf16"),
    ],
)
def test_another_recipe_is_refused_with_what_differs(
    runs_dir: Path, capfd: pytest.CaptureFixture[str], options: list[str], difference: str
) -> None:
    before = {path: value for path, value in content_of(runs_dir).items() if not path.endswith("lock")}
    told = error_of(capfd, run(["--runs-dir", str(runs_dir), "--resume", "auto", *options]))
    assert told == (
        f"error: run: the recipe is not the run's any more: {difference}; start another run, or --allow-recipe-change\n"
    )
    assert {path: value for path, value in content_of(runs_dir).items() if not path.endswith("lock")} == before


@pytest.mark.parametrize(
    ("options", "last"),
    [(["--epochs", "4"], 16), (["--epochs", "1"], None), (["--batch-size", "25"], None), (["--seed", "3"], 12)],
)
def test_a_change_that_is_allowed_is_made_and_told(runs_dir: Path, options: list[str], last: int | None) -> None:
    stopped = last_step(runs_dir)
    assert run(["--runs-dir", str(runs_dir), "--resume", "auto", "--allow-recipe-change", *options]) == 0
    (told,) = [event for event in events_of(runs_dir) if event["event"] == "resume"]
    assert len(told["recipe_changes"]) == 1
    recipe = record_of(runs_dir)["recipe"]
    if "--batch-size" in options:
        assert (recipe["batch_size"], recipe["resolution"]["global_batch_size"]) == (25, 25)
        # Of 50 samples 2 steps an epoch: it stood in the second epoch, before its 25th sample or behind it.
        assert [sum(event["samples_per_rank"]) for event in events_of(runs_dir) if event["event"] == "step"][-2:] == [
            25,
            25,
        ]
        assert steps_of(runs_dir)[-1] == 6
    elif last is None:
        assert last_step(runs_dir) in (stopped, 8)  # to the end of the epoch in which it stood
    else:
        assert last_step(runs_dir) == last


def test_what_only_changes_how_it_is_computed_may_change(runs_dir: Path, whole: torch.Tensor) -> None:
    options = ["--micro-batch-size", "5", "--num-workers", "2", "--save-every", "1epoch", "--keep", "1"]
    assert run(["--runs-dir", str(runs_dir), "--resume", "auto", *options]) == 0
    assert (weights_of(runs_dir) - whole).abs().max() < 1e-5
    assert len(list((runs_dir / NAME / "checkpoints").iterdir())) == 1


def damage_newest(runs_dir: Path) -> tuple[Path, int]:
    """Cut a file of the newest checkpoint; return its folder and the step of the one before."""
    *_, before, newest = sorted((runs_dir / NAME / "checkpoints").iterdir())
    path = newest / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    return newest, int(before.name.rsplit("-", 1)[1])


def test_a_damaged_newest_checkpoint_is_told_and_the_one_before_is_used(
    runs_dir: Path, whole: torch.Tensor, capfd: pytest.CaptureFixture[str]
) -> None:
    damaged, before = damage_newest(runs_dir)
    told = error_of(capfd, run(["--resume", str(damaged)]))
    assert "optimizer.safetensors: " in told
    assert "the newest good one is " in told
    assert run(["--runs-dir", str(runs_dir), "--resume", "auto", "--log-level", "warning"]) == 0
    assert f"{damaged.name}/optimizer.safetensors" in capfd.readouterr().err
    (event,) = [event for event in events_of(runs_dir) if event["event"] == "damaged_checkpoint"]
    assert event["warning"]
    assert resumes_of(runs_dir) == [before]
    assert [event["step"] for event in lineage(events_of(runs_dir))] == ALL_STEPS
    assert torch.equal(weights_of(runs_dir), whole)


def test_a_run_that_another_process_trains_is_refused(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway.training.run.opening.open_run._LOCK_WAIT_SECONDS", 0.3)
    arguments = ["--runs-dir", str(runs_dir), "--resume", "auto"]

    def meanwhile(step: int, *_: object) -> None:
        if step == 1:
            with started(1, runs_dir / "output", second_writer, arguments) as group:
                assert group.exit_codes() == [2]
                assert f"process {os.getpid()} on" in group.output(0)
                assert "is training this run; wait for it, or stop it" in group.output(0)

    assert run(arguments, meanwhile) == 0


def second_writer(arguments: list[str]) -> int:
    """Try to train a run that is being trained, without waiting long."""
    from slipway.training.run.opening import open_run

    open_run._LOCK_WAIT_SECONDS = 0.3
    return run(arguments)


def test_whoever_waited_for_the_lock_goes_on_from_what_was_saved_meanwhile(runs_dir: Path, whole: torch.Tensor) -> None:
    arguments = ["--runs-dir", str(runs_dir), "--resume", "auto"]
    seen: list[Any] = []

    def meanwhile(step: int, *_: object) -> None:
        # The second one asks while the first still trains; then the first is told to stop.
        if step == 1:
            context = started(1, runs_dir / "output", run, arguments)
            seen.extend([context, context.__enter__()])
            time.sleep(1.0)
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    assert run(arguments, meanwhile) == 75
    assert seen[1].exit_codes() == [0]
    seen[0].__exit__(None, None, None)
    first, second = resumes_of(runs_dir)
    assert second >= first + 3
    assert steps_of(runs_dir) == ALL_STEPS
    assert torch.equal(weights_of(runs_dir), whole)


@pytest.mark.parametrize(
    ("resume", "told"),
    [
        ("absent", "no such run or checkpoint, here or in runs (did you mean 'resent'?)"),
        ("empty", "no run there (no run.json in "),
        ("resent/checkpoints/000001-step-4", "000001-step-4: no manifest.json"),
        ("resent/best", "no run there (no run.json in "),
    ],
)
def test_what_is_no_run_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: str, told: str) -> None:
    monkeypatch.chdir(tmp_path)
    runs_dir = Path("runs")
    (runs_dir / "empty").mkdir(parents=True)
    for name in ("best", "checkpoints/000001-step-4"):
        (runs_dir / "resent" / name).mkdir(parents=True)
    (runs_dir / "resent" / "run.json").write_text('{"name": "resent", "recipe": {"resolution": {}}}')
    message = str(catch(find_run, resume, runs_dir, "any"))
    assert message.startswith(f"--resume {resume}: ")
    assert told in message
    assert "\n" not in message


def test_a_folder_of_the_same_name_that_is_no_run_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("signs").mkdir()  # the data, say
    Path("runs/signs").mkdir(parents=True)
    Path("runs/signs/run.json").write_text("{}")
    assert resolve_name("signs", Path("runs")).run == Path("runs/signs")


def test_differences_are_told_by_their_names() -> None:
    old = {"a": 1, "b": {"c": [1, {"d": None}]}, "gone": 1, "e": [1, 2]}
    new = {"a": 2, "b": {"c": [1, {"d": 0.5}]}, "new": 1, "e": [1]}
    assert differences_of(old, new) == ["a 1 -> 2", "b.c[1].d None -> 0.5", "2 e -> 1"]
    assert differences_of(old, old) == []
    by_default = {"task": {"options": {"data": {"train_ratio": 0.7}}}}
    now = {"task": {"options": {"data": {"train_ratio": None, "folds": None}}}}
    assert differences_of(by_default, now) == ["--train-ratio 0.7 -> None"]


def test_a_recipe_of_another_version_is_refused_in_one_line(runs_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = runs_dir / NAME / "run.json"
    record = json.loads(path.read_text())
    record["recipe"]["resolution"]["nodes"] = 2
    path.write_text(json.dumps(record))
    told = error_of(capfd, run(["--runs-dir", str(runs_dir), "--resume", "auto"]))
    assert told == "error: run: its recipe was written by another version; start another run\n"


def test_weights_that_are_no_numbers_are_passed_over_and_an_error_where_their_checkpoint_is_named(
    runs_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = newest_checkpoint(runs_dir / NAME)[0]
    assert good is not None
    tensors = read_tensors(good)
    for tensor in tensors["model"].values():
        tensor.fill_(torch.nan)
    bad = write_checkpoint(runs_dir / NAME, Content(step=good.step, tensors=tensors, state=read_state(good)), keep=9)
    assert run(["--runs-dir", str(runs_dir), "--resume", str(bad.folder)]) == 2
    assert capfd.readouterr().err == (
        f"error: --resume: {bad.folder}: has weights that are NaN; it does not hold what a run writes; name the one before, "
        f"{good.folder}\n"
    )
    assert resumes_of(runs_dir) == []
    assert run(["--runs-dir", str(runs_dir), "--resume", NAME]) == 0
    assert resumes_of(runs_dir) == [good.step]
    assert any("the one before is used" in str(event.get("reason")) for event in events_of(runs_dir))


def test_too_little_memory_for_a_checkpoint_is_no_damage_and_leaves_the_run_as_it_was(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def load(path: Path) -> dict[str, torch.Tensor]:
        raise MemoryError("Cannot allocate memory (os error 12)")

    monkeypatch.setattr(checkpoint, "load_tensors", load)
    assert run(["--runs-dir", str(runs_dir), "--resume", NAME]) == 1
    assert "no memory to restore the checkpoint (Cannot allocate memory" in capfd.readouterr().err
    assert resumes_of(runs_dir) == []

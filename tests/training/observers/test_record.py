"""`run.json`: its content while a run goes on, and what happens if it cannot be written."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from slipway.training.common.errors import TrainingFailed
from slipway.training.config.recipe import Stage
from slipway.training.observers import record as module
from slipway.training.observers.events import CheckpointSaved, Decision, EpochEnd, RunEnd, StageStart, StepEnd
from slipway.training.observers.record import RunRecord
from slipway.training.storage.run_lock import lock_run
from tests.training.disks import fill, read_only, small_disk
from tests.training.helpers import catch

RESULT = RunEnd(result={"test_accuracy": 0.5}, folder=Path())


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write at every occasion."""
    monkeypatch.setattr(module, "_LEAST_SECONDS", 0.0)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def stage(number: int) -> StageStart:
    return StageStart(
        number=number, stage=Stage(name=f"s{number}", epochs=2), peak_learning_rate=0.1, num_epochs=2, steps_per_epoch=3
    )


def step(number: int) -> StepEnd:
    return StepEnd(
        step=number,
        stage_number=0,
        epoch=0,
        step_in_epoch=0,
        learning_rate=0.1,
        loss=1.0,
        gradient_norm=1.0,
        samples_per_rank=[4],
        micro_batches=1,
    )


def epoch(number: int) -> EpochEnd:
    return EpochEnd(
        stage_number=0,
        epoch=number,
        epoch_in_stage=number,
        samples_seen=4,
        train_loss=1.0,
        validation={},
        improved=True,
        best=0.25,
        seconds=1.0,
    )


def checkpoint(name: str) -> CheckpointSaved:
    return CheckpointSaved(step=4, name=name, num_bytes=1)


def test_it_says_how_far_the_run_is_and_how_it_ended(tmp_path: Path, at_once: None) -> None:
    path = tmp_path / "run.json"
    record = RunRecord(path, {"name": "signs"})
    assert read(path) == {"name": "signs", "state": "running"}
    record.on_stage_start(stage(0))
    record.on_step(step(3))
    record.on_epoch_end(epoch(0))
    progress = {"stage": 0, "stage_name": "s0", "step": 3, "epoch": 0, "best": 0.25}
    assert read(path) == {"name": "signs", "state": "running", "progress": progress}
    record.on_step(step(4))
    record.on_checkpoint_saved(checkpoint("000001-step-4"))
    assert read(path)["progress"] == {**progress, "step": 4, "checkpoint": "000001-step-4"}
    record.on_decision(Decision(kind="early_stop", reason="enough", fields={}))
    record.on_run_end(RESULT)
    assert read(path)["state"] == "finished"
    assert read(path)["result"] == {"test_accuracy": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("state", ["interrupted", "failed"])
def test_a_run_that_stops_short_says_why(tmp_path: Path, state: str) -> None:
    record = RunRecord(tmp_path / "run.json", {"name": "signs"})
    record.on_step(step(3))
    record.end(state, error="Interrupted: SIGTERM")
    assert read(tmp_path / "run.json") == {
        "name": "signs",
        "state": state,
        "error": "Interrupted: SIGTERM",
        "progress": {"step": 3},
    }


def test_short_epochs_do_not_each_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    record = RunRecord(path, {})
    written = []
    for number in range(50):
        now += 0.1
        record.on_epoch_end(epoch(number))
        written.append(read(path).get("progress", {}).get("epoch"))
    assert len(set(written)) == 3
    record.end("interrupted")
    assert read(path)["progress"]["epoch"] == 49


def test_a_run_that_is_taken_up_starts_from_the_progress_it_had(tmp_path: Path, at_once: None) -> None:
    record = RunRecord(tmp_path / "run.json", {"progress": {"step": 30, "stage_name": "s0"}})
    assert read(tmp_path / "run.json")["progress"] == {"step": 30, "stage_name": "s0"}
    record.on_step(step(31))
    record.on_epoch_end(epoch(1))
    assert read(tmp_path / "run.json")["progress"] == {"step": 31, "stage_name": "s0", "epoch": 1, "best": 0.25}


def test_a_folder_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    error = catch(RunRecord, tmp_path / "nowhere" / "run.json", {})
    assert str(error) == (
        f"{tmp_path / 'nowhere' / 'run.json'}: No such file or directory; choose a --runs-dir that can be written and has room"
    )
    with read_only(tmp_path):
        assert "Read-only file system" in str(catch(RunRecord, tmp_path / "run.json", {}))


def test_a_disk_that_is_full_from_the_start_is_refused(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 << 10) as disk:
        fill(disk, 0)
        assert "No space left on device" in str(catch(RunRecord, disk / "run.json", {}))
        assert [path.name for path in disk.iterdir()] == ["ballast"]


def test_a_disk_that_fills_up_is_one_warning_and_the_run_goes_on(
    tmp_path: Path, at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk", 64 << 10) as disk, caplog.at_level(logging.WARNING):
        record = RunRecord(disk / "run.json", {"name": "signs"})
        ballast = fill(disk, 0)
        for number in range(3):
            record.on_epoch_end(epoch(number))
        assert [message.getMessage() for message in caplog.records] == [
            f"{disk / 'run.json'} cannot be written, training goes on: No space left on device"
        ]
        assert read(disk / "run.json") == {"name": "signs", "state": "running"}, "the old one stays whole"
        assert sorted(path.name for path in disk.iterdir()) == ["ballast", "run.json"]
        ballast.unlink()
        record.on_epoch_end(epoch(3))
        assert read(disk / "run.json")["progress"]["epoch"] == 3


def test_a_result_that_cannot_be_written_fails_the_run_which_can_then_be_taken_up(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 << 10) as disk:
        record = RunRecord(disk / "run.json", {"name": "signs"})
        ballast = fill(disk, 0)
        with pytest.raises(TrainingFailed) as caught:
            record.on_run_end(RESULT)
        assert str(caught.value) == (
            f"{disk / 'run.json'}: No space left on device: trained to the end, but the result cannot be written; make room "
            f"there, then --resume {disk}"
        )
        record.end("failed", error="TrainingFailed")
        assert read(disk / "run.json")["state"] == "running"
        ballast.unlink()
        record.on_run_end(RESULT)
        assert read(disk / "run.json")["state"] == "finished"


def test_a_run_whose_folder_was_moved_is_written_where_it_was_and_never_over_another(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with lock_run(folder, 0.0) as lock:
        record = RunRecord(folder / "run.json", {"name": "mine"}, lock)
        folder.rename(tmp_path / "moved")
        record.on_run_end(RESULT)
        assert read(folder / "run.json")["state"] == "finished"
        assert not lock.renew()

        record = RunRecord(folder / "run.json", {"name": "mine"}, lock)
        folder.rename(tmp_path / "moved-2")
        folder.mkdir()
        (folder / "run.json").write_text("{}")
        with pytest.raises(TrainingFailed, match="another run was put in its place"):
            record.on_run_end(RESULT)
        record.end("failed")
        assert read(folder / "run.json") == {}

"""Saving beside the training: what it waits for, what it survives, and a disk that is full for a while."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from slipway.training.common.errors import TrainingFailed
from slipway.training.config.intervals import Interval
from slipway.training.loop import saver as saving
from slipway.training.loop.saver import CheckpointSaver
from slipway.training.observers.events import Decision
from slipway.training.observers.journal import read_journal
from slipway.training.run.train import train
from slipway.training.run.training_config import TrainingConfig
from slipway.training.storage.checkpoint import Content, newest_checkpoint, read_state, read_tensors, write_checkpoint
from tests.limits import HANG_SECONDS, wait_until
from tests.training.checkpoints import content, folders, newest
from tests.training.disks import fill, read_only, small_disk
from tests.training.helpers import Recorder, make_recipe, make_task, make_trainer

EVERY_STEP = Interval(count=1, unit="step")


class Gate:
    """A disk that writes when it is let."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.written: list[int] = []

    def write(self, run_folder: Path, taken: Content, keep: int) -> Any:
        assert self.opened.wait(HANG_SECONDS)
        self.written.append(taken.step)
        return write_checkpoint(run_folder, taken, keep)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(saving, "write_checkpoint", gate.write)
    yield gate
    gate.opened.set()


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(saving, "time", clock)
    return clock


def make_saver(
    folder: Path, capture: Callable[[], Content] | None = None, interval: Interval | None = EVERY_STEP
) -> tuple[CheckpointSaver, Recorder]:
    recorder = Recorder()
    saver = CheckpointSaver(
        folder,
        interval=interval,
        keep=2,
        steps_per_epoch=5,
        observer=recorder,
        capture=capture or (lambda: content(7)),
    )
    return saver, recorder


def kinds(recorder: Recorder) -> list[str]:
    return [decision.kind for decision in recorder.decisions]


def test_training_goes_on_while_a_checkpoint_is_written_and_does_not_change_it(tmp_path: Path, gate: Gate) -> None:
    state = content(1)
    saver, recorder = make_saver(tmp_path, lambda: state)
    saver.save()
    for group in state.tensors.values():
        for tensor in group.values():
            tensor.fill_(99)
    assert gate.written == []
    gate.opened.set()
    saver.close()
    assert newest(tmp_path).step == 1
    assert kinds(recorder) == ["checkpoint"]
    (decision,) = recorder.decisions
    assert decision.fields["checkpoint"] == "000001-step-1"
    assert decision.fields["bytes"] == newest(tmp_path).num_bytes
    assert not decision.warning


def test_one_at_a_time_and_what_came_due_meanwhile_comes_next(tmp_path: Path, gate: Gate) -> None:
    saver, recorder = make_saver(tmp_path, interval=Interval(count=2, unit="step"))
    assert [step for step in (1, 2) if saver.is_due(step)] == [2]
    saver.save()
    assert not any(saver.is_due(step) for step in (3, 4, 5))
    gate.opened.set()
    wait_until(lambda: saver.is_due(5))
    assert kinds(recorder) == ["checkpoint"]
    saver.save()
    assert not saver.is_due(5)
    saver.close()
    assert kinds(recorder) == ["checkpoint", "checkpoint"]


def test_what_is_due_stays_due_until_it_is_saved(tmp_path: Path, clock: Clock) -> None:
    """The step after which it came due ran out of memory, and is computed again."""
    saver, _ = make_saver(tmp_path, interval=Interval(count=60, unit="second"))
    clock.now += 61
    assert saver.is_due(3)
    assert saver.is_due(3)
    saver.save(wait=True)
    assert not saver.is_due(4)


def test_never_saves_only_when_it_is_told_to(tmp_path: Path) -> None:
    saver, recorder = make_saver(tmp_path, interval=None)
    assert not any(saver.is_due(step) for step in range(100))
    saver.save(wait=True)
    assert newest(tmp_path).step == 7
    assert kinds(recorder) == ["checkpoint"]


def test_with_wait_it_is_on_the_disk(tmp_path: Path) -> None:
    saver, recorder = make_saver(tmp_path)
    saver.save(wait=True)
    assert newest(tmp_path).step == 7
    assert kinds(recorder) == ["checkpoint"]


def test_a_save_that_fails_is_a_warning_and_tried_again_after_a_pause_that_grows(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "checkpoints").write_text("")
    saver, recorder = make_saver(tmp_path)
    pauses = []
    for step in range(6):
        saver.save(wait=True)
        assert kinds(recorder) == ["checkpoint_failed"] * (step + 1)
        pauses.append(recorder.decisions[-1].fields["retry_seconds"])
        clock.now += pauses[-1] - 0.01
        assert not saver.is_due(step), "a short interval is no reason to try again at once"
        clock.now += 0.02
        assert saver.is_due(step)
    assert pauses == [60.0, 120.0, 240.0, 480.0, 600.0, 600.0]
    decision = recorder.decisions[0]
    assert decision.warning
    assert decision.reason == (
        f"this checkpoint could not be written, older ones stay: File exists ({tmp_path / 'checkpoints'}); tried again in 60 s"
    )
    (tmp_path / "checkpoints").unlink()
    saver.save(wait=True)
    assert newest(tmp_path).step == 7
    (tmp_path / "checkpoints").rename(tmp_path / "away")
    (tmp_path / "checkpoints").write_text("")
    saver.save(wait=True)
    assert recorder.decisions[-1].fields["retry_seconds"] == 60.0


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_no_memory_for_the_copy_is_a_warning_too(tmp_path: Path, error: Exception) -> None:
    def capture() -> Content:
        raise error

    saver, recorder = make_saver(tmp_path, capture)
    saver.save()
    saver.close()
    assert kinds(recorder) == ["checkpoint_failed"]
    assert "older ones stay: memory ran out" in recorder.decisions[0].reason


def test_a_tensor_that_no_file_can_hold_is_a_warning(tmp_path: Path) -> None:
    odd = replace(content(1), tensors={"model": {"phase": torch.zeros(2, dtype=torch.complex128)}})
    saver, recorder = make_saver(tmp_path, lambda: odd)
    saver.save(wait=True)
    assert "phase is torch.complex128" in recorder.decisions[0].reason


def test_a_bug_is_no_warning(tmp_path: Path) -> None:
    saver, _ = make_saver(tmp_path, lambda: replace(content(1), state={"loss": float("nan")}))
    with pytest.raises(ValueError, match="not JSON compliant"):
        saver.save(wait=True)


def test_where_no_thread_is_to_be_had_the_training_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    saver, recorder = make_saver(tmp_path)
    saver.save()
    assert newest(tmp_path).step == 7
    saver.close()
    assert kinds(recorder) == ["checkpoint"]


def close_after(saver: CheckpointSaver, error: BaseException) -> None:
    """Close a saver as a trainer does that something went wrong in."""
    try:
        raise error
    finally:
        saver.close()


def test_a_process_that_is_told_to_quit_at_once_does_not_wait_for_the_disk(tmp_path: Path, gate: Gate) -> None:
    saver, _ = make_saver(tmp_path)
    saver.save()
    with pytest.raises(KeyboardInterrupt):
        close_after(saver, KeyboardInterrupt())
    assert gate.written == []
    gate.opened.set()
    with pytest.raises(RuntimeError):
        close_after(saver, RuntimeError())
    assert gate.written == [7], "after any other failure what was copied is still written"


def test_the_threads_of_a_writer_end_with_their_checkpoint(tmp_path: Path) -> None:
    saver, _ = make_saver(tmp_path)
    saver.save(wait=True)
    wait_until(lambda: not any(thread.name == "checkpoint" for thread in threading.enumerate()))


def train_on(disk: Path, when: Callable[[Decision], None] = lambda decision: None) -> tuple[dict[str, Any], Recorder]:
    """Train a little in a folder, a checkpoint every two steps."""
    trainer, recorder = make_trainer(
        make_task(),
        make_recipe(stages_config="minimal", epochs=10),
        folder=disk,
        save_every=Interval(count=2, unit="step"),
    )
    note = recorder.on_decision

    def on_decision(event: Decision) -> None:
        note(event)
        when(event)

    recorder.on_decision = on_decision  # type: ignore[method-assign]
    return trainer.run(), recorder


@pytest.fixture
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once what could not be written, and wait for each, as these steps take less time than a disk."""
    save = CheckpointSaver.save
    monkeypatch.setattr(saving, "_FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(CheckpointSaver, "save", lambda saver, *, wait=False: save(saver, wait=True))


def test_on_a_disk_that_is_full_for_a_while_training_goes_on_and_saves_again(tmp_path: Path, soon_again: None) -> None:
    untouched, _ = train_on(tmp_path / "roomy")
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        ballast = fill(disk, 0)

        def make_room(event: Decision) -> None:
            if event.kind == "checkpoint_failed":
                ballast.unlink(missing_ok=True)

        result, recorder = train_on(disk, make_room)
        assert kinds(recorder).index("checkpoint_failed") < kinds(recorder).index("checkpoint")
        manifest, problems = newest_checkpoint(disk)
        assert problems == []
        assert manifest is not None
        assert manifest.step > result["steps"] / 2
        assert (disk / "best" / "model.safetensors").is_file()
    assert {**result, "seconds": 0, "stages": 0} == {**untouched, "seconds": 0, "stages": 0}
    told = next(event.reason for event in recorder.decisions if event.kind == "checkpoint_failed")
    assert "No space left on device" in told
    assert "\n" not in told


def test_a_disk_that_fills_up_later_keeps_the_last_good_checkpoint(tmp_path: Path, soon_again: None) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        kept: list[str] = []
        told: list[str] = []

        def fill_up(event: Decision) -> None:
            told.append(event.kind)
            if event.kind == "checkpoint" and event.fields["step"] >= 10 and not kept:
                kept.extend(folders(disk))
                fill(disk, 0)

        with pytest.raises(TrainingFailed, match="trained to the end, but best, last cannot be written; make room"):
            train_on(disk, fill_up)
        assert "checkpoint_failed" in told
        assert folders(disk) == kept
        manifest, problems = newest_checkpoint(disk)
        assert problems == []
        assert manifest is not None
        assert manifest.folder.name == kept[-1]
        assert all(tensor.isfinite().all() for tensor in read_tensors(manifest)["model"].values())


def test_a_folder_that_becomes_read_only_ends_no_training(tmp_path: Path, soon_again: None) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    told: list[Decision] = []
    with ExitStack() as stack:

        def protect(event: Decision) -> None:
            told.append(event)
            if event.kind == "checkpoint" and event.fields["step"] == 10:
                stack.enter_context(read_only(disk))

        with suppress(TrainingFailed):  # at the end, for the weights that could not be written either
            train_on(disk, protect)
        reasons = {event.kind: event.reason for event in told}
        assert "Read-only file system" in reasons["checkpoint_failed"]
        assert "Read-only file system" in reasons["weights_not_saved"]
        manifest, problems = newest_checkpoint(disk)
    assert problems == []
    assert manifest is not None
    assert manifest.step >= 10


@pytest.mark.usefixtures("accelerate_state", "soon_again")
def test_a_whole_run_on_a_disk_that_is_full_for_a_while_ends_with_everything_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", 4 << 20) as disk:
        ballast = disk / "ballast"
        write = saving.write_checkpoint
        refused = 0

        def write_on_a_full_disk(run_folder: Path, taken: Content, keep: int) -> Any:
            nonlocal refused
            if taken.step == 6 and not refused:
                fill(disk, 0)
            try:
                return write(run_folder, taken, keep)
            except OSError:
                refused += 1
                if refused == 3:
                    ballast.unlink()
                raise

        monkeypatch.setattr(saving, "write_checkpoint", write_on_a_full_disk)
        config = TrainingConfig(
            stages_config="minimal", epochs=10, batch_size=16, save_every="2step", device="cpu", log_level="error",
            runs_dir=str(disk), experiment_name="run",
        )  # fmt: skip
        result = train(config, make_task())
        run = disk / "run"
        record = json.loads((run / "run.json").read_text())
        assert record["state"] == "finished"
        assert record["result"]["test_loss"] == result["test_loss"]
        journal = read_journal(run / "events.jsonl")
        failed = [line for line in journal if line["event"] == "checkpoint_failed"]
        assert len(failed) >= 3
        assert all("No space left on device" in line["reason"] for line in failed)
        assert [line["step"] for line in journal if line["event"] == "step"] == list(range(1, 41))
        assert {path.name for path in (run / "best").iterdir()} == {"model.safetensors", "spec.json"}
        assert newest_checkpoint(run)[0] is not None
        assert not list(run.rglob("*.partial"))


def test_a_run_that_went_on_does_not_need_its_old_checkpoint_any_more(tmp_path: Path, soon_again: None) -> None:
    train_on(tmp_path)
    manifest, _ = newest_checkpoint(tmp_path)
    assert manifest is not None
    expected = read_tensors(manifest)["stage_best"]["values"].clone()
    trainer, _ = make_trainer(make_task(), make_recipe(stages_config="minimal", epochs=10))
    trainer.restore(read_state(manifest), read_tensors(manifest))
    for path in manifest.folder.glob("*.safetensors"):
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
    snapshot = trainer.progress.stage_best.snapshot
    assert snapshot is not None
    assert torch.equal(snapshot.values, expected)

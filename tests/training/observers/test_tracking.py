"""A run feeds trackers by a process of its own, and goes on as it would without where that process fails."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from slipway.training.common.run_names import read_record
from slipway.training.observers import tracking
from slipway.training.observers.events import RunStart
from slipway.training.observers.tracking import Tracking
from slipway.training.storage.files import load_tensors
from tests.results.report.runs import train_small


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "best" / "model.safetensors")


def test_a_run_feeds_tensorboard_with_the_numbers_of_its_journal(tmp_path: Path) -> None:
    from tests.results.track.events import points_of_journal, points_of_tensorboard

    folder = train_small(tmp_path, ("a", "b"), report=False, tracker=("tensorboard",))
    sent = points_of_tensorboard(folder)
    assert sent == points_of_journal(folder)
    assert "test/accuracy" in sent


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_a_tracker_process_that_fails_changes_nothing_and_is_told_once(
    blow: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    processes = []

    class Struck(Tracking):
        def on_run_start(self, event: RunStart) -> None:
            super().on_run_start(event)
            assert self._process is not None
            processes.append(self._process)
            os.kill(self._process.pid, blow)
            if blow == signal.SIGKILL:
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)

    monkeypatch.setattr(tracking, "_LONGEST_SECONDS", 0.2)
    monkeypatch.setattr("slipway.training.run.one_run.Tracking", Struck)
    folder = train_small(tmp_path, ("a", "b"), report=False, tracker=("tensorboard",), experiment_name="struck")
    assert read_record(folder)["state"] == "finished"
    told = [line for line in capsys.readouterr().err.splitlines() if "tensorboard" in line]
    assert len(told) == 1, told
    assert f"slipway track {folder} --tracker tensorboard" in told[0]
    assert processes[0].poll() is not None

    alone = train_small(tmp_path, ("a", "b"), report=False, experiment_name="alone")
    ours, theirs = weights_of(folder), weights_of(alone)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

"""Runs to use: a small recogniser of signs with its record, and the clips that it learned from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from slipway.training.data.prepared.prepare import prepare_data
from slipway.training.data.specs import DataSpec, Reading
from slipway.training.observers.journal import Journal
from slipway.training.tasks.sign.options import ModelSpec
from slipway.training.tasks.sign.task import SignTask
from tests.training.observers import events_of_a_run, send

CLASSES = ("hello", "thank you", "=yes\x1b[2J")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that is over, with its journal."""
    folder = tmp_path / "runs" / "trial"
    folder.mkdir(parents=True)
    journal = Journal(folder / "events.jsonl")
    for event in events_of_a_run():
        send(journal, event)
    journal.close()
    (folder / "run.json").write_text(json.dumps({"name": folder.name, "state": "finished", "recipe": {}}))
    return folder


def make_clips(folder: Path, per_class: int = 8) -> Path:
    """Write a table of frames: two signers, three classes, clips of 3 to 12 frames of 21 points."""
    rng, clips = np.random.default_rng(3), []
    for number in range(per_class * len(CLASSES)):
        base = rng.normal(size=(1, 21, 2)) * 0.02 + np.random.default_rng(number % 3).random((1, 21, 2))
        clips.append((base + 0.01 * rng.normal(size=(3 + number % 10, 21, 2))).astype(np.float32))
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "clips.npz",
        X=np.concatenate(clips),
        lengths=[len(clip) for clip in clips],
        y=[CLASSES[number % 3] for number in range(len(clips))],
        signers=[f"signer {number % 4}" for number in range(len(clips))],
    )
    return folder / "clips.npz"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """A run and its data."""

    folder: Path
    data: Path
    clips: list[np.ndarray]


@pytest.fixture(scope="session")
def sign_run(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run of the bundled recogniser whose weights are random, but for the statistics of its features."""
    root = tmp_path_factory.mktemp("use")
    data = make_clips(root / "data")
    prepared = prepare_data(DataSpec(source=str(data), reading=Reading(landmarks="hand", coords="xy")), 0)
    task = SignTask(prepared, ModelSpec(width=16, blocks=1, convolutions=1, heads=2))
    torch.manual_seed(0)
    folder = root / "runs" / "signs"
    (folder / "best").mkdir(parents=True)
    save_file(dict(task.build_model().state_dict()), folder / "best" / "model.safetensors")
    (folder / "best" / "spec.json").write_text(json.dumps(task.prediction_spec()))
    record = {
        "name": "signs",
        "state": "finished",
        "config": {"data": str(data), "landmarks": "hand", "coords": "xy", "seed": 0},
        "command": {"folder": str(root)},
        "data": json.loads(json.dumps(task.describe())),
        "recipe": {"resolution": {}, "task": {"name": "sign", "data_fingerprint": prepared.facts.fingerprint}},
    }
    (folder / "run.json").write_text(json.dumps(record))
    store = prepared.store
    with np.load(data) as arrays:
        clips = np.split(arrays["X"], np.cumsum(arrays["lengths"])[:-1])
    assert len(store) == len(clips)
    return Made(folder=folder, data=data, clips=clips)

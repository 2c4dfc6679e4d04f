"""The multi-device test: real process groups, on CPU ranks where there is no accelerator."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.training.devices.manager import DeviceManager
from slipway.training.observers.journal import read_journal
from slipway.training.run.training_config import TrainingConfig
from tests.conftest import ROOT
from tests.limits import HANG_SECONDS

NUM_CLIPS = 46


def environment() -> dict[str, str]:
    """Return an environment without the traces of a launch around the tests."""
    dropped = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS")
    kept = {
        name: value for name, value in os.environ.items() if name not in dropped and not name.startswith("SLIPWAY_")
    }
    return {**kept, "OMP_NUM_THREADS": "1"}


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small .npz of clips of unequal length, two classes apart enough to be learnt."""
    random = np.random.default_rng(0)
    lengths = random.integers(4, 12, NUM_CLIPS)
    labels = np.arange(NUM_CLIPS) % 2
    values = random.normal(size=(lengths.sum(), 21, 3)) * 0.1
    values[:, :, 1] += np.linspace(0, 1, 21)
    values[:, :, 0] += np.repeat(labels, lengths)[:, None] * np.linspace(-1, 1, 21) ** 2
    path = tmp_path_factory.mktemp("data") / "clips.npz"
    np.savez(path, X=values.astype(np.float32), y=labels, lengths=lengths)
    return path


OPTIONS = [
    "--stages-config", "minimal", "--epochs", "2", "--batch-size", "6", "--model-width", "32", "--model-blocks", "1",
]  # fmt: skip


def train(launcher: list[str], data: Path, runs_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [*launcher, "bin/train.py", "--data", str(data), "--runs-dir", str(runs_dir), *OPTIONS, *options]
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )


def torchrun(world_size: int) -> list[str]:
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(world_size)]
    return [*run, "--master_addr", "127.0.0.1", "--master_port", free_port()]


def read_run(runs_dir: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    folders = list(runs_dir.iterdir())
    assert len(folders) == 1
    return json.loads((folders[0] / "run.json").read_text()), read_journal(folders[0] / "events.jsonl")


def test_torchrun_makes_one_group_that_sees_every_sample_once_an_epoch(data: Path, tmp_path: Path) -> None:
    done = train(torchrun(2), data, tmp_path)
    assert done.returncode == 0, done.stderr
    run, events = read_run(tmp_path)
    assert run["world_size"] == 2
    assert run["state"] == "finished"
    assert run["recipe"]["resolution"]["global_batch_size"] == 12
    assert run["recipe"]["resolution"]["batch_size_factor"] == 2.0
    assert re.search(r"device: cpu .*2 processes\nglobal batch: 12, learning rate 0\.004", done.stderr), done.stderr
    trained = run["data"]["samples"]["train"]
    for epoch in (0, 1):
        steps = [event for event in events if event["event"] == "step" and event["epoch"] == epoch]
        assert sum(sum(step["samples_per_rank"]) for step in steps) == trained
        assert all(len(step["samples_per_rank"]) == 2 for step in steps)
    assert [event["samples_seen"] for event in events if event["event"] == "epoch"] == [trained, trained]
    assert sum(map(sum, run["result"]["test_confusion_matrix"])) == run["data"]["samples"]["test"]
    assert any(event["event"] == "small_data" and event["warning"] for event in events)
    # One rank speaks: one table, on stdout.
    assert done.stdout.count("by stage") == 1


def test_accelerate_launch_with_the_two_process_config_reaches_the_weights_of_one_process(
    data: Path, tmp_path: Path
) -> None:
    accelerate = [
        sys.executable,
        "-m",
        "accelerate.commands.accelerate_cli",
        "launch",
        "--main_process_port",
        free_port(),
    ]
    config = ["--config_file", "accelerate_configs/cpu_two_processes.yaml"]
    options = ("--batch-rule", "fixed", "--precision", "float64", "--share-weights")
    two = train([*accelerate, *config], data, tmp_path / "two", *options, "3,1")
    assert two.returncode == 0, two.stderr
    one = train([sys.executable], data, tmp_path / "one", *options, "1", "--micro-batch-size", "2")
    assert one.returncode == 0, one.stderr
    (first, first_events), (second, second_events) = read_run(tmp_path / "two"), read_run(tmp_path / "one")
    assert (first["world_size"], second["world_size"]) == (2, 1)
    assert first["recipe"]["resolution"]["global_batch_size"] == 6
    assert first["recipe"]["resolution"]["batch_size_factor"] == 1.0
    losses = [
        [event["loss"] for event in events if event["event"] == "step"] for events in (first_events, second_events)
    ]
    assert len(losses[0]) > 8
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert first["result"]["test_loss"] == pytest.approx(second["result"]["test_loss"], rel=1e-9)


def test_wrong_input_stops_all_ranks_with_one_line(data: Path, tmp_path: Path) -> None:
    done = train(torchrun(2), tmp_path / "nowhere.npz", tmp_path / "runs", "--data-format", "npz")
    assert done.returncode != 0
    assert done.stderr.count("error: ") == 1
    assert "nowhere.npz: no such file" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("extra", [(), ("--no-data-parallel",)])
def test_multi_gpu_on_one_device_falls_back_with_one_warning(
    data: Path, tmp_path: Path, extra: tuple[str, ...]
) -> None:
    done = train([sys.executable], data, tmp_path, "--multi-gpu", "--device", "cpu", *extra)
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if "--multi-gpu" in line]
    assert len(warnings) == 1
    assert "used instead: one device, cpu" in warnings[0]
    run, events = read_run(tmp_path)
    assert run["world_size"] == 1
    assert [event["warning"] for event in events if event["event"] == "device_fallback"] == [True]


def test_the_config_names_of_the_python_face_hold() -> None:
    config = TrainingConfig(multi_gpu=True, use_data_parallel=True, auto_adjust_batch_size=True)
    assert config.make_recipe().batch_rule == "scale"
    assert DeviceManager.get_effective_batch_size(32, num_processes=4) == 128
    assert DeviceManager.get_effective_batch_size(32, batch_rule="fixed", num_processes=4) == 32

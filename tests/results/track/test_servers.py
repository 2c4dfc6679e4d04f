"""MLflow's server and trackio's database hold the points of a journal, each once; skipped where they are not installed.

`make trackers` installs them, in an environment of their own, and runs this.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from slipway.launcher.common.ports import free_port
from tests.limits import HANG_SECONDS

from .events import points_of_journal

REPOSITORY = Path(__file__).parents[3]
has_mlflow = importlib.util.find_spec("mlflow") is not None and importlib.util.find_spec("flask") is not None
has_trackio = importlib.util.find_spec("trackio") is not None
TRAINING = """
import os, sys, torch
from torch import nn
from slipway import Observer, TensorTask, TrainingConfig, train

class Slow(Observer):
    def on_step(self, event):
        if event.step == 20 and len(sys.argv) > 2:
            print("at step 20", flush=True)
            sys.stdin.readline()

generator = torch.Generator().manual_seed(0)
inputs = torch.randn(256, 8, generator=generator)
labels = (inputs.sum(1) > 0).long()
splits = {"train": (inputs[:192], labels[:192]), "validation": (inputs[192:], labels[192:])}
task = TensorTask(lambda: nn.Linear(8, 2), splits)
config = TrainingConfig(
    epochs=10, batch_size=16, runs_dir=sys.argv[1], experiment_name="trial", report=False, tracker=os.environ.get("TRACKER")
)
train(config, task, observers=[Slow()])
"""


@contextmanager
def mlflow_server(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Yield the address of a server of MLflow, and its process."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    log = folder / "server.txt"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words, *places], stdout=out, stderr=out, start_new_session=True
        )
        try:
            while not _answers(f"{address}/health"):
                assert server.poll() is None, log.read_text()
                time.sleep(0.2)
            yield address, server
        finally:
            os.killpg(server.pid, signal.SIGCONT)
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def points_of_mlflow(address: str, run_id: str) -> dict[str, list[tuple[int, float]]]:
    """Return what the server says of a run, by name."""

    def ask(path: str) -> Any:
        with urllib.request.urlopen(f"{address}/api/2.0/mlflow/{path}", timeout=30) as answer:
            return json.load(answer)

    names = [one["key"] for one in ask(f"runs/get?run_id={run_id}")["run"]["data"]["metrics"]]
    found: dict[str, list[tuple[int, float]]] = {}
    for name in names:
        history = ask(f"metrics/get-history?run_id={run_id}&metric_key={urllib.request.quote(name)}")["metrics"]
        found[name] = sorted((int(one.get("step", 0)), float(one["value"])) for one in history)
    return found


def assert_same(found: Mapping[str, list[tuple[int, float]]], journal: Mapping[str, list[tuple[int, float]]]) -> None:
    """Compare points with those of a journal in single precision."""
    assert set(found) == set(journal)
    for name, points in journal.items():
        assert [step for step, _ in found[name]] == [step for step, _ in points], name
        assert [value for _, value in found[name]] == pytest.approx([value for _, value in points], rel=1e-6), name


def start_training(folder: Path, variables: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    """Start the training of `TRAINING` in a folder."""
    script = folder / "script.py"
    script.write_text(TRAINING)
    return subprocess.Popen(
        [sys.executable, str(script), str(folder / "runs"), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def weights_of(run: Path) -> bytes:
    return (run / "last" / "model.safetensors").read_bytes()


@pytest.mark.skipif(not has_mlflow, reason="needs mlflow with its server")
def test_mlflow_has_the_points_of_the_journal_and_a_server_that_ends_or_hangs_changes_no_weight(tmp_path: Path) -> None:
    for name in ("plain", "whole", "killed", "hanging"):
        (tmp_path / name).mkdir()
    output = start_training(tmp_path / "plain", {}).communicate(timeout=HANG_SECONDS)[0]
    plain = weights_of(tmp_path / "plain" / "runs" / "trial")
    assert "tracker" not in output

    with mlflow_server(tmp_path) as (address, server):
        variables = {"TRACKER": "mlflow", "MLFLOW_TRACKING_URI": address}
        run = tmp_path / "whole" / "runs" / "trial"
        output = start_training(tmp_path / "whole", variables).communicate(timeout=HANG_SECONDS)[0]
        assert "mlflow" not in output.replace(str(tmp_path), ""), output
        state = json.loads((run / "trackers" / "mlflow.json").read_text())
        found, journal = points_of_mlflow(address, state["tracker_run"]), points_of_journal(run)
        assert_same(found, journal)
        assert weights_of(run) == plain

        for name, number in (("hanging", signal.SIGSTOP), ("killed", signal.SIGKILL)):
            training = start_training(tmp_path / name, variables, "wait")
            assert training.stdin is not None
            assert training.stdout is not None
            while "at step 20" not in (line := training.stdout.readline()):
                assert line, training.wait()
            os.killpg(server.pid, number)
            training.stdin.write("go on\n")
            training.stdin.flush()
            output = training.stdout.read()
            training.wait()
            if number == signal.SIGSTOP:
                os.killpg(server.pid, signal.SIGCONT)
            assert training.returncode == 0, output
            assert weights_of(tmp_path / name / "runs" / "trial") == plain
            assert output.count("mlflow") >= 1, output


@pytest.mark.skipif(not has_trackio, reason="needs trackio")
def test_trackio_has_the_points_of_the_journal(tmp_path: Path) -> None:
    output = start_training(tmp_path, {"TRACKER": "trackio", "TRACKIO_DIR": str(tmp_path / "trackio")}).communicate(
        timeout=HANG_SECONDS
    )[0]
    run = tmp_path / "runs" / "trial"
    assert "trackio" not in output.replace(str(tmp_path), ""), output
    (database,) = (tmp_path / "trackio").glob("slipway*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT step, metrics FROM metrics ORDER BY id").fetchall()
    found: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for step, metrics in rows:
        for name, value in json.loads(metrics).items():
            found[name].append((step, value))
    assert_same(found, points_of_journal(run))

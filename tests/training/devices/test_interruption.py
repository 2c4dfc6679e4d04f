"""A signal stops a run at a step boundary, saved; what goes on from there ends with the weights it would have had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from slipway.training.config.recipe import Stage
from slipway.training.devices import interruption
from slipway.training.devices.interruption import Interrupted, StopRequest
from slipway.training.observers.journal import lineage, read_journal
from slipway.training.run.cli import main
from tests.conftest import ROOT
from tests.limits import HANG_SECONDS, wait_until
from tests.training.helpers import PLAN, make_recipe, make_trainer
from tests.training.misbehaviour import (
    NAME,
    ActingTask,
    difference,
    events_of,
    record_of,
    run,
    send,
    steps_of,
    weights_of,
)
from tests.training.processes import run_group
from tests.training.run.test_train import write_clips

ALL_STEPS = list(range(1, 13))


@pytest.fixture(autouse=True)
def as_if_alone(training_in_this_process: None) -> None:
    """Each test may train in this process."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    """The weights of one process that nothing interrupts."""
    runs_dir = tmp_path_factory.mktemp("whole")
    assert run_group(1, runs_dir / "output", run, ["--runs-dir", str(runs_dir)]) == [0]
    assert steps_of(runs_dir) == ALL_STEPS
    return weights_of(runs_dir)


def test_the_first_signal_is_a_wish_and_a_second_ctrl_c_quits(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    with StopRequest() as stop:
        assert stop.name is None
        signal.raise_signal(signal.SIGINT)
        assert stop.name == "SIGINT"
        signal.raise_signal(signal.SIGINT)  # the same press, passed on by a launcher
        monkeypatch.setattr(interruption, "_SAME_PRESS_SECONDS", 0.0)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert stop.name == "SIGINT"
    assert {number: signal.getsignal(number) for number in before} == before
    assert capfd.readouterr().err.split("\n") == [
        "",
        "stopping after this step, and saving; press Ctrl-C again to quit at once",
        "",
    ]


def test_only_rank_0_says_that_it_stops(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGUSR1)
            assert stop.name == "SIGTERM"
        told = capfd.readouterr().err
        assert told == ("" if rank == "1" else "\nSIGTERM: stopping after this step, and saving\n")


def test_a_signal_before_the_first_step_ends_a_training_at_once() -> None:
    with StopRequest() as stop:
        with pytest.raises(Interrupted, match="stopped before its first step"), stop.at_once():
            signal.raise_signal(signal.SIGTERM)
        assert stop.name == "SIGTERM"
        assert signal.set_wakeup_fd(-1) == -1


def test_a_process_whose_main_thread_waits_in_another_library_ends_too() -> None:
    code = (
        "import ctypes, os, signal, threading\n"
        "from slipway.training.devices.interruption import StopRequest\n"
        "with StopRequest() as stop, stop.at_once():\n"
        "    words = ['waits']\n"
        "    while True:\n"
        "        try:\n"
        "            while words: print(words.pop(), flush=True)\n"  # in the block that the signal is to find it in
        "            ctypes.CDLL(None).pause()\n"  # returns after each signal
        "        except BaseException: pass"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG_SECONDS) == 75
        assert process.stderr is not None
        assert process.stderr.read() == "\nSIGTERM: stopped before its first step, so nothing had to be saved\n"


@pytest.mark.parametrize(
    ("number", "at"),
    [(signal.SIGTERM, 3), (signal.SIGINT, 4), (signal.SIGUSR1, 1), (signal.SIGUSR2, 11)],
)
def test_a_signal_stops_a_run_within_two_steps_and_nothing_is_lost(
    tmp_path: Path, whole: torch.Tensor, capfd: pytest.CaptureFixture[str], number: signal.Signals, at: int
) -> None:
    arguments = ["--runs-dir", str(tmp_path), "--resume", "auto"]
    assert run(arguments, partial(send, number, at, 0)) == 75
    stopped = steps_of(tmp_path)[-1]
    assert at <= stopped <= at + 2
    record = record_of(tmp_path)
    assert (record["state"], "result" in record) == ("interrupted", False)
    told = capfd.readouterr().err.strip().split("\n")[-1]
    assert told == f"stopped after step {stopped} and saved: go on with --resume {tmp_path / NAME}"
    saved = [event["step"] for event in events_of(tmp_path) if event["event"] == "checkpoint"]
    assert saved[-1] == stopped

    assert run(arguments) == 0
    assert torch.equal(weights_of(tmp_path), whole)
    events = events_of(tmp_path)
    assert [event["step"] for event in events if event["event"] == "resume"] == [stopped]
    assert [event["step"] for event in lineage(events)] == steps_of(tmp_path) == ALL_STEPS
    assert record_of(tmp_path)["state"] == "finished"
    assert "error" not in record_of(tmp_path)


def test_a_device_that_is_a_step_ahead_stops_within_two_steps_too(tmp_path: Path) -> None:
    stop = StopRequest()

    def ask(step: int, *_: object) -> None:
        if step == 3:
            stop.name = "SIGTERM"

    recipe = make_recipe(Stage(name="only", epochs=3))
    plan = replace(PLAN, micro_batch_size=16)
    trainer, recorder = make_trainer(ActingTask(ask), recipe, plan=plan, folder=tmp_path, stop=stop, queues_steps=True)
    with pytest.raises(Interrupted, match=r"^stopped after step [45] and saved: go on with --resume"):
        trainer.run()
    assert recorder.steps[-1].step == trainer.progress.step <= 5


def test_a_second_ctrl_c_quits_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interruption, "_SAME_PRESS_SECONDS", 0.0)

    def press_twice(step: int, *_: object) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    assert run(["--runs-dir", str(tmp_path)], press_twice) == 130
    assert steps_of(tmp_path) == [1, 2]
    assert record_of(tmp_path)["state"] == "interrupted"
    assert capfd.readouterr().err.endswith("interrupted: what was not saved is lost\n")


def test_a_run_that_is_never_saved_is_saved_when_it_is_stopped(tmp_path: Path, whole: torch.Tensor) -> None:
    arguments = ["--runs-dir", str(tmp_path), "--resume", "auto", "--save-every", "never"]
    assert run(arguments, partial(send, signal.SIGTERM, 5, 0)) == 75
    assert len(list((tmp_path / NAME / "checkpoints").iterdir())) == 1
    assert run(arguments) == 0
    assert torch.equal(weights_of(tmp_path), whole)
    assert steps_of(tmp_path) == ALL_STEPS


def test_a_stop_that_cannot_be_saved_does_not_say_that_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoints = tmp_path / NAME / "checkpoints"

    def in_the_way(step: int, *_: object) -> None:
        time.sleep(0.05)
        saved = [event["step"] for event in events_of(tmp_path) if event["event"] == "checkpoint"]
        if 3 in saved and checkpoints.is_dir():
            checkpoints.rename(tmp_path / "elsewhere")
            checkpoints.write_text("a file where the folder was")
            signal.raise_signal(signal.SIGTERM)

    assert run(["--runs-dir", str(tmp_path), "--save-every", "3step"], in_the_way) == 75
    told = capfd.readouterr().err.strip().split("\n")[-1]
    saved = max(event["step"] for event in events_of(tmp_path) if event["event"] == "checkpoint")
    assert saved in (3, 6)
    assert told.startswith(
        f"stopped after step {steps_of(tmp_path)[-1]}, of which only step {saved} could be saved: go on"
    )


@pytest.mark.parametrize("rule", ["fixed", "scale"])
def test_two_processes_stop_together_and_any_number_goes_on(tmp_path: Path, rule: str) -> None:
    options = ["--batch-rule", rule, "--resume", "auto"]
    reference = tmp_path / "reference"
    assert run_group(2, tmp_path / "output", run, [*options, "--runs-dir", str(reference)]) == [0, 0]
    steps = steps_of(reference)
    assert len(steps) == (12 if rule == "fixed" else 6)
    for size in (2, 1, 3):
        stopped = [*options, "--runs-dir", str(tmp_path / str(size))]
        act = partial(send, signal.SIGTERM, 3, 1)  # to one of them
        assert run_group(2, tmp_path / "output", run, stopped, act) == [75, 75]
        assert steps_of(tmp_path / str(size))[-1] < steps[-1]
        assert run_group(size, tmp_path / "output", run, stopped) == [0] * size
        events = events_of(tmp_path / str(size))
        assert [event["step"] for event in lineage(events)] == steps
        assert [sum(event["samples_per_rank"]) for event in lineage(events)] == [
            sum(event["samples_per_rank"]) for event in lineage(events_of(reference))
        ]
        assert [event["processes"] for event in events if event["event"] == "resume"] == [size]
        if size == 2:
            assert torch.equal(weights_of(tmp_path / "2"), weights_of(reference))
        else:
            assert difference(weights_of(tmp_path / str(size)), weights_of(reference)) < 1e-5


@pytest.mark.slow
def test_a_script_that_does_not_catch_it_ends_with_75_and_a_line(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import signal\n"
        "from functools import partial\n"
        "from tests.training.misbehaviour import ActingTask, send\n"
        "from tests.training.rehearsal import rehearsed_with\n"
        "from slipway.training.run.training_config import TrainingConfig\n"
        "from slipway.training.run.train import train\n"
        "config = TrainingConfig(runs_dir='runs', experiment_name='run', device='cpu', micro_batch_size=16)\n"
        "task = ActingTask(partial(send, signal.SIGTERM, 3, 0))\n"
        "with rehearsed_with(task, act=None):\n"
        "    train(config, task)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS
    )
    assert done.returncode == 75, done.stderr
    assert "stopped after step 3 and saved: go on with --resume runs/run\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_sigterm_from_outside_and_the_same_command_again(tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "clips.npz", torch.arange(40).numpy() % 2)
    command = [
        *(
            "--data",
            str(clips),
            "--device",
            "cpu",
            "--stages-config",
            "minimal",
            "--epochs",
            "400",
            "--batch-size",
            "4",
        ),
        *("--model-width", "16", "--model-blocks", "1", "--micro-batch-size", "4", "--log-level", "error"),
        *("--runs-dir", str(tmp_path / "runs"), "--resume", "auto"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    journal = tmp_path / "runs" / "clips-minimal" / "events.jsonl"
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "bin" / "train.py"), *command],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    wait_until(lambda: process.poll() is not None or (journal.exists() and '"epoch"' in journal.read_text()))
    assert process.poll() is None, process.communicate()[1]
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=HANG_SECONDS)[1]
    assert process.returncode == 75, told
    assert "SIGTERM: stopping after this step, and saving\nstopped after step" in told
    stopped = read_journal(journal)[-1]
    assert stopped["event"] == "checkpoint"
    assert stopped["step"] < 2800
    assert main([*command, "--max-steps", str(stopped["step"] + 3), "--allow-recipe-change"]) == 0
    assert [event["step"] for event in lineage(read_journal(journal))] == list(range(1, stopped["step"] + 4))


def test_what_a_caller_catches_is_called_interrupted() -> None:
    assert type(Interrupted("stopped").for_caller()).__name__ == "Interrupted"

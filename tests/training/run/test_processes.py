"""`train(config, task, num_processes=2)` in one process is a training on two, and comes back as one does."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from slipway.training.common.errors import TrainingFailed, UserError
from slipway.training.devices.interruption import Interrupted
from slipway.training.observers.events import Observer, StepEnd
from slipway.training.observers.journal import read_journal
from slipway.training.run.result import RunResult
from slipway.training.run.train import train
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.dataset_task import DatasetTask

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


@pytest.fixture(autouse=True)
def as_if_alone(training_in_this_process: None) -> None:
    """Each test may train in this process."""


def make_task() -> DatasetTask:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(140, 6, generator=generator)
    # No function that can be pickled, as in a notebook.
    samples = [(one, int(one.sum() > 0)) for one in inputs]
    return DatasetTask(
        lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)),
        train=samples[:100],
        validation=samples[100:120],
        test=samples[120:],
        loss=nn.CrossEntropyLoss(),
    )


def trained(folder: Path, num_processes: int, observers: Sequence[Observer] = (), **options: Any) -> RunResult:
    config = TrainingConfig(
        **{
            "runs_dir": str(folder),
            "experiment_name": "run",
            "epochs": 3,
            "batch_size": 16,
            "batch_rule": "fixed",
            "precision": "float64",
            "device": "cpu",
            "log_level": "error",
            "num_workers": 0,
            **options,
        }
    )
    return train(config, make_task(), observers, num_processes=num_processes)


def weights(result: RunResult) -> torch.Tensor:
    assert result.model is not None
    assert not result.model.training
    return torch.cat([one.flatten() for one in result.model.state_dict().values()])


class ActAt(Observer):
    """Does something in the process of rank 0 after a step."""

    def __init__(self, step: int, act: Any) -> None:
        self.step, self.act = step, act

    def on_step(self, event: StepEnd) -> None:
        if event.step == self.step:
            self.act()


def test_two_processes_reach_the_weights_of_one_and_the_result_comes_back(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    one = trained(tmp_path / "one", 1)
    two = trained(tmp_path / "two", 2)
    assert float((weights(one) - weights(two)).abs().max() / weights(one).abs().max()) <= 1e-10
    assert two.metrics.keys() == one.metrics.keys()
    assert two.metrics == pytest.approx(one.metrics, rel=1e-9)
    assert two.folder == tmp_path / "two" / "run"
    steps = [event for event in read_journal(two.folder / "events.jsonl") if event["event"] == "step"]
    assert {len(event["samples_per_rank"]) for event in steps} == {2}
    assert (
        set(psutil.Process().children()) - before,
        [name for name in os.environ if name in ("RANK", "WORLD_SIZE")],
    ) == (set(), [])


def test_an_interrupt_reaches_the_ranks_and_what_was_saved_goes_on(tmp_path: Path) -> None:
    whole = weights(trained(tmp_path / "whole", 2))
    me = os.getpid()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="and saved: go on with --resume") as stopped:
        trained(tmp_path, 2, [ActAt(5, lambda: os.kill(me, signal.SIGINT))])
    assert isinstance(stopped.value, SystemExit)
    assert stopped.value.code == 75
    assert signal.getsignal(signal.SIGINT) is before
    assert torch.equal(weights(trained(tmp_path, 2, resume="auto")), whole)


def test_an_error_in_rank_0_is_one_line_that_says_how_to_go_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ValueError("a bug of mine")

    with pytest.raises(TrainingFailed) as failed:
        trained(tmp_path, 2, [ActAt(3, fail)])
    resume = f"go on from its last checkpoint with --resume {tmp_path / 'run'}"
    assert str(failed.value) == f"rank 0 ended with ValueError: a bug of mine; {resume}"
    assert "in fail" in capfd.readouterr().err
    with pytest.raises(UserError, match=r"^--monitor: 'r2' is none of loss, accuracy, macro_f1$"):
        trained(tmp_path, 2, monitor="r2")


def test_a_study_runs_in_the_same_processes(tmp_path: Path) -> None:
    study = trained(tmp_path, 2, epochs=1, seeds=2)
    assert (len(study["runs"]), study.model) == (2, None)
    assert study._repr_html_().count("<table") == 2


@pytest.mark.parametrize("number", [0, -1, True, 1.5])
def test_a_number_that_is_none_is_refused(tmp_path: Path, number: Any) -> None:
    with pytest.raises(UserError, match=f"^num_processes={number!r}: give the number of processes, 1 or more$"):
        trained(tmp_path, number)


def test_in_a_launch_of_another_number_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"^num_processes=2: this process is one of 1 that a launcher started; leave"):
        trained(tmp_path, 2)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_forked_a_launch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway.training.run.processes.sys.platform", "darwin")
    with pytest.raises(UserError, match=r"start it with `slipway launch --num-processes 2 script.py`"):
        trained(tmp_path, 2)


@pytest.mark.parametrize("name", ["num_processes", "nproc_per_node", "world_size"])
def test_a_config_that_is_given_the_number_says_where_it_belongs(name: str) -> None:
    with pytest.raises(UserError) as refused:
        TrainingConfig(**{name: 2})
    assert str(refused.value) == f"{name} is no option of a config: call train(config, task, num_processes=2)"

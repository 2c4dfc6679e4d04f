"""A small training whose task can do something at a step, run by the command line in this process or another."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, partialmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

import slipway.training.run.train
from slipway.training.config.recipe import Stage
from slipway.training.loop.saver import CheckpointSaver
from slipway.training.observers.journal import read_journal
from slipway.training.run.cli import main
from slipway.training.tasks.task import Batch
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import make_task
from tests.training.rehearsal import rehearsed_with

if TYPE_CHECKING:
    import pytest  # the processes that train here do without

Act = Callable[[int, Batch, torch.Tensor], torch.Tensor | None]
"""What is done in the training step of this number, from 1, in this process; it may return other losses."""

NAME = "run"
SMALL = (
    *("--experiment-name", NAME, "--device", "cpu", "--micro-batch-size", "16", "--batch-size", "16"),
    *("--stages-config", "minimal", "--epochs", "3", "--log-level", "error", "--learning-rate", "0.02"),
    *("--save-every", "2step"),
)
"""Of 50 samples: 3 epochs of 4 steps where one process trains."""


class ActingTask(TensorTask):
    """Four blobs; does something in its training steps. One micro-batch is one step."""

    def __init__(self, act: Act | None, inputs: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        self.__dict__.update(make_task().__dict__)
        self.act = act
        self.steps = 0
        self.model: nn.Module | None = None
        if inputs is not None:
            features, labels = self._splits["train"]
            self._splits["train"] = (inputs(features), labels)

    def build_model(self) -> nn.Module:
        self.model = super().build_model()
        return self.model

    def losses(self, outputs: torch.Tensor, batch: Batch, stage: Stage | None) -> torch.Tensor:
        losses = super().losses(outputs, batch, stage)
        if stage is None or self.act is None:
            return losses
        self.steps += 1
        changed = self.act(self.steps, batch, losses)
        return losses if changed is None else changed


def run(
    arguments: Sequence[str],
    act: Act | None = None,
    inputs: Callable[[torch.Tensor], torch.Tensor] | None = None,
    keep: Path | None = None,
) -> int:
    """Run the command line of a training with the small task; return its exit code.

    `inputs` changes the features of the training split. The final weights of each rank are kept in the folder `keep`.
    """
    whole = slipway.training.run.train.train
    task = ActingTask(act, inputs)
    slipway.training.run.train.train = partial(whole, task=task)  # type: ignore[assignment]
    try:
        with rehearsed_with(task, act=None):
            code = main([*SMALL, *arguments])
    finally:
        slipway.training.run.train.train = whole
    if keep is not None and task.model is not None:
        keep.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.contiguous().clone() for name, tensor in task.model.state_dict().items()}
        save_file(state, keep / f"rank_{os.environ.get('RANK', '0')}.safetensors")
    return code


@contextmanager
def checkpoints_waited_for() -> Iterator[None]:
    """Let trainings wait for each checkpoint: none is left out for a disk that is slower than the steps."""
    save = CheckpointSaver.save
    CheckpointSaver.save = partialmethod(save, wait=True)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        CheckpointSaver.save = save  # type: ignore[method-assign]


def run_saving(arguments: Sequence[str], act: Act | None = None) -> int:
    """Run the training as `run` does, and wait for each checkpoint."""
    with checkpoints_waited_for():
        return run(arguments, act)


def send(number: signal.Signals, at: int, rank: int, step: int, batch: Batch, losses: torch.Tensor) -> None:
    """Act: send this process a signal in a step, on one rank."""
    if step == at and int(os.environ.get("RANK", "0")) == rank:
        os.kill(os.getpid(), number)


def sleep(seconds: float, at: int, rank: int, step: int, batch: Batch, losses: torch.Tensor) -> None:
    """Act: stand still in a step, on one rank."""
    if step == at and int(os.environ.get("RANK", "0")) == rank:
        time.sleep(seconds)


def events_of(runs_dir: Path, name: str = NAME) -> list[dict[str, Any]]:
    """Return the journal of a run."""
    return read_journal(runs_dir / name / "events.jsonl")


def steps_of(runs_dir: Path, name: str = NAME) -> list[int]:
    """Return the numbers of the steps in the journal of a run."""
    return [event["step"] for event in events_of(runs_dir, name) if event["event"] == "step"]


def record_of(runs_dir: Path, name: str = NAME) -> dict[str, Any]:
    """Return a run's `run.json`."""
    return json.loads((runs_dir / name / "run.json").read_text())


def weights_of(runs_dir: Path, name: str = NAME, kind: str = "last") -> torch.Tensor:
    """Return all weights that a run left, as one vector in float64."""
    return read_weights(runs_dir / name / kind / "model.safetensors")


def read_weights(path: Path) -> torch.Tensor:
    """Return all tensors of a file as one vector in float64."""
    tensors = load_file(path)
    return torch.cat([tensor.flatten().double() for _, tensor in sorted(tensors.items())])


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the largest difference of two sets of weights, relative to the largest weight."""
    return float((one - other).abs().max() / other.abs().max())


def error_of(capfd: pytest.CaptureFixture[str], code: int, expected: int = 2) -> str:
    """Return the one line of a refusal."""
    told = capfd.readouterr().err
    assert code == expected, told
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    return told

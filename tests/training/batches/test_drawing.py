"""What a task draws from the generators of the process: the same again, with any number of threads, or a warning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from slipway.training.config.plan import Plan
from slipway.training.config.recipe import Stage
from slipway.training.run.announce import announce_run
from slipway.training.tasks.dataset_task import DatasetTask
from slipway.training.tasks.task import Batch, Task
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import make_recipe, make_trainer

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
Y = X[:, :3].argmax(dim=1)
SPLITS = {"train": (X, Y), "validation": (X[:20], Y[:20])}
STAGE = Stage(name="only", epochs=2)


def make_net() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


class Augmented(TensorTask):
    """Adds noise of torch's and numpy's."""

    def augment(self, tensors: dict[str, torch.Tensor], keys: torch.Tensor, stage: Stage) -> dict[str, torch.Tensor]:
        noise = torch.randn_like(tensors["inputs"]) + float(np.random.rand())
        return {**tensors, "inputs": tensors["inputs"] + noise}


class Fetched(TensorTask):
    """Draws wherever samples are fetched, in evaluation too."""

    def fetch(self, split: str, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        batch = super().fetch(split, indices)
        return {**batch, "inputs": batch["inputs"] + float(np.random.rand())}


class Mixed(TensorTask):
    """Draws a weight for each loss."""

    def losses(self, outputs: torch.Tensor, batch: Batch, stage: Stage | None) -> torch.Tensor:
        losses = super().losses(outputs, batch, stage)
        return losses if stage is None else losses * (0.5 + np.random.rand() + torch.rand(()))


class Own(Dataset[tuple[torch.Tensor, int]]):
    """Has a generator of its own."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return X[index] + float(self.generator.normal()), int(Y[index])


def trained(task: Task, num_workers: int) -> tuple[torch.Tensor, Mapping[str, Any], list[str]]:
    """Return the weights, the last validation, and the kinds of decisions."""
    plan = replace(Plan.alone(), num_workers=num_workers)
    trainer, recorder = make_trainer(task, make_recipe(STAGE, batch_size=8), plan=plan)
    try:
        trainer.rehearse()
        announce_run(trainer, "run")
        trainer.run()
    finally:
        trainer.loader.close()
    weights = nn.utils.parameters_to_vector(trainer.model.parameters()).detach().clone()
    return weights, recorder.epochs[-1].validation, [decision.kind for decision in recorder.decisions]


@pytest.mark.parametrize("kind", [Augmented, Fetched, Mixed])
def test_what_a_task_draws_is_the_same_again_with_and_without_threads(kind: type[TensorTask]) -> None:
    found = []
    for num_workers in (0, 2, 2):
        np.random.seed(len(found))  # whoever calls has drawn before
        found.append(trained(kind(make_net, SPLITS), num_workers))
    for weights, validation, decisions in found:
        assert torch.equal(weights, found[0][0])
        assert validation == found[0][1]
        assert ("drawing_samples" in decisions) == (kind is not Mixed)
    assert not torch.equal(found[0][0], trained(TensorTask(make_net, SPLITS), 0)[0])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_samples_that_differ_each_time_they_are_read_are_warned_of(num_workers: int) -> None:
    *_, decisions = trained(DatasetTask(make_net, Own(), (X, Y)), num_workers)
    assert "unrepeatable_samples" in decisions


class Noisy(nn.Module):
    """Draws in evaluation too."""

    def __init__(self) -> None:
        super().__init__()
        self.net = make_net()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.net(inputs + torch.randn_like(inputs))


def test_a_model_that_draws_in_evaluation_draws_the_same_each_time() -> None:
    trainer, _ = make_trainer(TensorTask(Noisy, SPLITS), make_recipe(STAGE))
    first = trainer.evaluate("validation")
    before = torch.get_rng_state()
    torch.randn(5)
    assert trainer.evaluate("validation") == first
    torch.set_rng_state(before)
    trainer.evaluate("validation")
    assert torch.equal(torch.get_rng_state(), before)

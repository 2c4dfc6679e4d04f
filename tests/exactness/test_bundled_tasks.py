"""The tasks for pictures and texts reach the weights of a plain loop, whatever the plan, and over a resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.process_groups import in_process_group, start_rank, write_result
from slipway.training.batches.order import Order
from slipway.training.common.keyed_dropout import number_dropouts
from slipway.training.common.keyed_random import sample_keys
from slipway.training.config.intervals import Interval
from slipway.training.config.plan import Plan
from slipway.training.config.recipe import Stage
from slipway.training.devices.ranks import Ranks
from slipway.training.devices.world import leave_group
from slipway.training.loop.state import broadcast_checkpoint
from slipway.training.loop.trainer import build_model
from slipway.training.storage.checkpoint import newest_checkpoint
from slipway.training.tasks import images, text
from slipway.training.tasks.task import Task
from tests.training.helpers import make_recipe, make_trainer, stop_after
from tests.training.labelled_sources import sentences, write_pictures, write_sentences

BATCH = 10
STAGE = Stage(name="only", epochs=2, schedule="constant", warmup_epochs=0, weight_decay=0.0)
RECIPE = make_recipe(
    STAGE,
    batch_size=BATCH,
    optimizer="sgd",
    learning_rate=0.05,
    clip_norm=0.0,
    precision="float64",
    batch_rule="fixed",
    monitor="loss",
)


def pictures(folder: Path) -> Task:
    return images.make_task(folder / "pictures", size=9, flip=True, shift=0.2, width=8)


def sentences_of(folder: Path) -> Task:
    return text.make_task(folder / "sentences.csv", length=40, width=16, layers=1)


def language(folder: Path) -> Task:
    return text.make_task(folder / "all.txt", objective="language-model", length=24, width=16, layers=1)


TASKS: dict[str, Callable[[Path], Task]] = {"pictures": pictures, "sentences": sentences_of, "language": language}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    write_pictures(folder / "pictures")
    write_sentences(folder / "sentences.csv", 46)
    (folder / "all.txt").write_text(" ".join(one for one, _ in sentences(22)), encoding="utf-8")
    return folder


def plain(task: Task) -> torch.Tensor:
    """Return the weights after a plain loop of the same batches, whose loss is the mean over all that they hold."""
    model, order = build_model(task, RECIPE), Order(num_samples=task.num_samples("train"), seed=RECIPE.seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    dropouts = number_dropouts(model)
    model.train()
    for epoch in range(STAGE.epochs):
        for first in range(0, order.num_samples, BATCH):
            indices = order.indices(epoch, first, first + BATCH)
            keys = sample_keys(RECIPE.seed, epoch, indices)
            for one in dropouts:
                one.keys = keys
            batch = task.fetch_training(torch.from_numpy(indices), keys)
            optimizer.zero_grad()
            loss_of(model, batch).backward()
            optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def loss_of(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    parts = [tensor.double() if tensor.is_floating_point() else tensor for tensor in batch.values()]
    return F.cross_entropy(model(*parts[:-1]), parts[-1])


def work(rank: int, world_size: int, port: int, output: str, folder: Path, names: list[str]) -> None:
    ranks = start_rank(rank, world_size, port)
    plan = replace(Plan.alone(), world_size=world_size, micro_batch_size=3, share_weights=(3.0, 4.0)[:world_size])
    found = {}
    for name in names:
        task = TASKS[name](folder)
        expected = plain(task)
        trainer, _ = make_trainer(task, RECIPE, plan=plan, ranks=ranks)
        trainer.run()
        weights = nn.utils.parameters_to_vector(trainer.model.parameters()).detach()
        before = nn.utils.parameters_to_vector(build_model(task, RECIPE).parameters()).detach()
        largest = expected.abs().max()
        found[name] = [float((one - expected).abs().max() / largest) for one in (weights, before)]
    write_result(output, [found], ranks)
    leave_group()


@pytest.mark.parametrize("world_size", [1, 2])
def test_uneven_shares_and_micro_batches_of_our_tasks_reach_the_weights_of_a_plain_loop(
    world_size: int, folder: Path
) -> None:
    found = in_process_group(work, world_size, folder, list(TASKS))[0]
    assert set(found) == set(TASKS)
    for name, (difference, moved) in found.items():
        assert difference <= 1e-10, name
        assert moved > 1e-2, name


@pytest.mark.parametrize("name", TASKS)
def test_a_run_of_our_tasks_that_is_stopped_and_resumed_reaches_the_same_weights(
    name: str, folder: Path, tmp_path: Path
) -> None:
    whole, _ = make_trainer(TASKS[name](folder), RECIPE)
    whole.run()
    stopped, _ = make_trainer(
        TASKS[name](folder), RECIPE, folder=tmp_path, save_every=Interval.parse("9999step", "save_every")
    )
    stop_after(stopped, 4)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    found = broadcast_checkpoint(newest_checkpoint(tmp_path)[0], Ranks.alone())
    assert found is not None
    resumed, _ = make_trainer(TASKS[name](folder), RECIPE)
    resumed.restore(*found)
    resumed.run()
    assert torch.equal(whole.parameters.values, resumed.parameters.values)

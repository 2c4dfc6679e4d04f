"""Randomness of a model's own is repeated by a resume without a flag; keyed dropout is the same under any plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slipway import nn as keyed
from slipway.training.config.intervals import Interval
from slipway.training.config.recipe import Stage
from slipway.training.data.specs import Augmentation
from slipway.training.devices.ranks import Ranks
from slipway.training.loop.state import broadcast_checkpoint
from slipway.training.run.training_config import TrainingConfig
from slipway.training.storage.checkpoint import newest_checkpoint
from slipway.training.tasks.samples.random_state import seed_generators
from slipway.training.tasks.sign.options import ClassificationStage
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import PLAN, make_recipe, make_task, make_trainer, stop_after


class Functional(nn.Module):
    """Draws where no module says so."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.last(F.dropout(self.first(inputs), 0.3, self.training))


def with_model(make: Callable[[], nn.Module]) -> TensorTask:
    task = make_task()
    task.build_model = make  # type: ignore[method-assign]
    return task


def layers(dropout: Callable[[float], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(8, 16), dropout(0.3), nn.Tanh(), dropout(0.2), nn.Linear(16, 4))


@pytest.mark.parametrize("make", [layers(nn.Dropout), Functional])
def test_a_resume_repeats_what_a_model_draws(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    recipe = make_recipe(Stage(name="only", epochs=3))
    whole, _ = make_trainer(with_model(make), recipe)
    whole.run()
    cut, _ = make_trainer(with_model(make), recipe, folder=tmp_path, save_every=Interval.parse("99step", "save_every"))
    stop_after(cut, 6)
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    torch.rand(7)
    found = broadcast_checkpoint(newest_checkpoint(tmp_path)[0], Ranks.alone())
    assert found is not None
    resumed, _ = make_trainer(with_model(make), recipe)
    resumed.restore(*found)
    assert resumed.progress.step == 6
    resumed.run()
    assert torch.equal(whole.parameters.values, resumed.parameters.values)


def test_keyed_dropout_gives_the_same_weights_in_any_micro_batches() -> None:
    recipe = make_recipe(Stage(name="only", epochs=3), precision="float64", learning_rate=0.01)
    finals = []
    for size in (16, 5, 1):
        trainer, _ = make_trainer(with_model(layers(keyed.Dropout)), recipe, plan=replace(PLAN, micro_batch_size=size))
        trainer.run()
        finals.append(trainer.parameters.values.clone())
        assert all(one.keys is None for one in trainer.model if isinstance(one, keyed.Dropout))  # type: ignore
    undropped, _ = make_trainer(with_model(layers(lambda _: nn.Identity())), recipe)
    undropped.run()
    for other in finals[1:]:
        assert float((finals[0] - other).abs().max()) < 1e-12
    assert float((finals[0] - undropped.parameters.values).abs().max()) > 1e-3


def test_a_task_of_ones_own_is_trained_in_one_plain_stage() -> None:
    task = make_task()
    (stage,) = TrainingConfig(epochs=7).make_recipe(task).stages
    assert (stage.epochs, stage.patience, stage.options) == (7, None, ClassificationStage(label_smoothing=0.0))
    assert len(TrainingConfig(stages_config="aggressive").make_recipe(task).stages) == 3
    assert TrainingConfig().make_recipe().stages[0].options.augmentation != Augmentation()


def test_generators_are_seeded_as_by_torch_and_nothing_is_noted_for_other_devices() -> None:
    torch.manual_seed(5)
    expected, noted = torch.rand(3), len(torch.cuda._queued_calls)
    seed_generators(5, torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)
    assert len(torch.cuda._queued_calls) == noted

"""What would fail after an epoch is found before the first step; what learns nothing is named in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from slipway.training.config.recipe import Stage
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import catch, make_recipe, make_task, make_trainer


def rehearse(task: TensorTask, **options: Any) -> str:
    trainer, _ = make_trainer(task, make_recipe(Stage(name="only", epochs=1), **options))
    return str(catch(trainer.rehearse))


def with_(**methods: Callable[..., Any]) -> TensorTask:
    task = make_task()
    task.__dict__.update(methods)
    return task


def fail(*_: Any) -> Any:
    return {}["f1"]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (with_(metrics=lambda rows, split: {"loss": 1.0}), "--monitor accuracy: the task has no metric 'accuracy'"),
        (with_(metrics=fail), "Task.metrics of the validation split, tried before the training, fails: KeyError: 'f1' (test_r"),
        (with_(metrics=lambda rows, split: 0.5), "Task.metrics: it must return names and numbers, got float"),
        (with_(measure=lambda outputs, batch: outputs.mean()), "Task.measure: it must return a row for each sample, [8,"),
        (with_(measure=fail), "an evaluation of the validation split, tried before the training, fails: KeyError"),
        (with_(prediction_spec=fail), "prediction_spec, tried before the training, fails: KeyError: 'f1'"),
    ],
)  # fmt: skip
def test_what_would_fail_after_an_epoch_is_one_sentence(task: TensorTask, message: str) -> None:
    found = rehearse(task)
    assert message in found
    assert "\n" not in found


def test_metrics_see_a_row_for_each_sample_and_nothing_is_changed() -> None:
    shapes = []
    task = make_task(num_validation=37)
    metrics = task.metrics
    task.metrics = lambda rows, split: (shapes.append((split, len(rows))), metrics(rows, split))[1]  # type: ignore
    trainer, _ = make_trainer(task, make_recipe(Stage(name="only", epochs=1)))
    before, state = trainer.parameters.values.clone(), torch.get_rng_state()
    trainer.rehearse()
    assert shapes == [("validation", 37), ("test", 20)]
    assert torch.equal(before, trainer.parameters.values)
    assert torch.equal(state, torch.get_rng_state())


def test_a_last_batch_too_small_for_its_statistics_is_told_with_a_size_that_does() -> None:
    task = make_task(num_train=33)
    task.build_model = lambda: nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Linear(6, 4))  # type: ignore
    assert rehearse(task) == (
        "--batch-size 16: of 33 training samples a rank gets a batch of one, of which BatchNorm1d cannot take statistics; "
        "--batch-size 17 leaves none"
    )
    trainer, _ = make_trainer(task, make_recipe(Stage(name="only", epochs=1), max_steps=2))
    trainer.rehearse()
    task = make_task(num_train=33)
    task.build_model = lambda: nn.Sequential(  # type: ignore[method-assign]
        nn.Unflatten(1, (2, 4)), nn.BatchNorm1d(2), nn.Flatten(), nn.Linear(8, 4)
    )
    trainer, _ = make_trainer(task, make_recipe(Stage(name="only", epochs=1)))
    trainer.rehearse()


class Parts(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.first, self.head, self.never = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 4)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = checkpoint(self.first, inputs, use_reentrant=True) if self.reentrant else self.first(inputs)
        return self.head(hidden)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [False, True])
def test_parameters_without_a_gradient_are_named_once(reentrant: bool) -> None:
    task = make_task()
    task.build_model = lambda: Parts(reentrant)  # type: ignore[method-assign]
    trainer, recorder = make_trainer(task, make_recipe(Stage(name="only", epochs=2)))
    trainer.run()
    (told,) = [one for one in recorder.decisions if one.kind == "no_gradient"]
    of_first = ["first.weight", "first.bias"] if reentrant else []
    assert told.fields["parameters"] == [*of_first, "never.weight", "never.bias"]

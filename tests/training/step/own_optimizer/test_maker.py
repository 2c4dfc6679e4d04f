"""An optimizer of a user's is made of the model's groups of parameters, or refused in a sentence that says what to do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import nn

from slipway.training.config.methods import Methods, ParameterGroup
from slipway.training.config.recipe import OptimizerName, OwnOptimizer, Recipe
from slipway.training.run.training_config import TrainingConfig
from slipway.training.step.own_optimizer.maker import OptimizerMaker, settle_optimizer, trained_parameters
from slipway.training.tasks.tensors import TensorTask
from tests.training.helpers import catch

optim = torch.optim


class GroupedTask(TensorTask):
    """Has the groups that a function makes of its model."""

    def __init__(self, groups: Callable[[Any], Any] | None = None) -> None:
        super().__init__(make_model, {"train": (torch.zeros(4, 8), torch.arange(4))})
        self.groups = groups

    def parameter_groups(self, model: nn.Module) -> Any:
        return None if self.groups is None else self.groups(model)


class OwnTask(GroupedTask):
    """Makes its optimizer itself."""

    def make_optimizer(self, groups: Any) -> torch.optim.Optimizer:
        return optim.NAdam(groups)


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))


def settle(task: TensorTask | None = None, optimizer: Any = None, **options: Any) -> Recipe:
    config = TrainingConfig(learning_rate=0.01, **options)
    task = task or GroupedTask()
    return settle_optimizer(
        config.make_recipe(task), task, make_model(), Methods(optimizer=optimizer), config.own_optimizer
    )


def own_of(recipe: Recipe) -> OwnOptimizer:
    assert recipe.own_optimizer is not None
    return recipe.own_optimizer


def test_without_an_optimizer_or_groups_the_recipe_and_its_hash_are_as_before() -> None:
    recipe = settle(betas=(0.9, 0.99), eps=1e-6)
    assert recipe.own_optimizer is None
    assert recipe.hash == TrainingConfig(learning_rate=0.01).make_recipe(GroupedTask()).hash
    assert recipe.hash != settle(betas=(0.9, 0.95)).hash


def test_the_recipe_has_the_class_and_the_settings_of_its_groups() -> None:
    recipe = settle(optimizer=optim.NAdam, betas=(0.8, 0.95))
    own = own_of(recipe)
    assert recipe.optimizer.name == own.class_name == "torch.optim.nadam.NAdam"
    (group,) = own.groups
    assert (group["lr"], group["betas"], group["weight_decay"], group["parameters"]) == (0.01, [0.8, 0.95], 0, 4)
    assert recipe.hash != settle(optimizer=optim.NAdam, betas=(0.8, 0.9)).hash
    assert recipe.hash == settle(optimizer=optim.NAdam, betas=(0.8, 0.95)).hash
    as_function = settle(optimizer=functools.partial(optim.NAdam, betas=(0.8, 0.95)))
    assert own_of(as_function).groups == own.groups


def test_a_task_can_make_its_optimizer() -> None:
    recipe = settle(OwnTask())
    assert recipe.optimizer.name.endswith("OwnTask.make_optimizer")
    assert own_of(recipe).class_name == "torch.optim.nadam.NAdam"


def test_a_rate_and_a_decay_of_a_group_multiply_those_of_the_config() -> None:
    task = GroupedTask(lambda model: [ParameterGroup(model[0], learning_rate_factor=0.1, weight_decay_factor=0.5)])
    given = own_of(settle(task, optim.AdamW, weight_decay=0.2)).groups
    assert [(one["name"], one["lr"], one["weight_decay"]) for one in given] == [
        ("group 1", 0.001, 0.1),
        ("rest", 0.01, 0.2),
    ]
    of_class = own_of(settle(task, optim.AdamW)).groups
    assert [one["weight_decay"] for one in of_class] == [0.005, 0.01]
    default = own_of(settle(task, weight_decay=0.2)).groups
    assert [(one["name"], one["weight_decay"]) for one in default] == [
        ("group 1", 0.1),
        ("rest", 0.2),
        ("rest without decay", 0.0),
    ]


@pytest.mark.parametrize("name", [one for one in get_args(OptimizerName) if one not in ("adamw", "sgd")])
def test_every_name_of_the_command_line_is_a_class_of_torch(name: Any) -> None:
    own = own_of(settle_named(name))
    assert str(own.class_name).lower().endswith(f".{name}")
    assert own.groups[0]["lr"] == 0.01


def settle_named(name: Any, optimizer: Any = None) -> Recipe:
    config, task = TrainingConfig(learning_rate=0.01, optimizer=name), GroupedTask()
    methods = Methods(optimizer=optimizer)
    return settle_optimizer(config.make_recipe(task), task, make_model(), methods, config.own_optimizer)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a name": ({"optimizer": "adam"}, "TrainingConfig(optimizer='adam')"),
    "an object": ({"optimizer": optim.Adam(make_model().parameters())}, "an object of Adam; give the class"),
    "a module": ({"optimizer": make_model()}, "an object of Sequential"),
    "nothing": ({"optimizer": lambda groups: None}, "it returned NoneType"),
    "two rates": ({"optimizer": lambda groups: optim.AdamW(groups, lr=0.5)}, "give learning_rate=0.5 in the config"),
    "two decays": (
        {"optimizer": lambda groups: optim.AdamW(groups, weight_decay=0.5), "weight_decay": 0.1},
        "give weight_decay=0.5 in the config",
    ),
    "left out": ({"optimizer": lambda groups: optim.AdamW(groups[0]["params"][:2])}, "it leaves out 2.weight, 2.bias"),
    "more": (
        {"optimizer": lambda groups: optim.AdamW([*groups[0]["params"], nn.Parameter(torch.zeros(1))])},
        "none of the model's",
    ),
    "a closure": ({"optimizer": optim.LBFGS}, "closure"),
    "sparse": ({"optimizer": optim.SparseAdam}, "take Adam or AdamW"),
    "momentum of adamw": ({"momentum": 0.9}, "--momentum: adamw has none; it has --betas"),
    "an unknown argument": (
        {"optimizer": optim.Adam, "optimizer_options": ("amsgrid=true",)},
        "did you mean 'amsgrad'?",
    ),
    "betas of RMSprop": (
        {"optimizer": optim.RMSprop, "betas": (0.9, 0.9)},
        "--betas: torch.optim.rmsprop.RMSprop has no",
    ),
    "an argument of a function": (
        {"optimizer": lambda groups: optim.Adam(groups), "betas": (0.9, 0.9)},
        "give betas there, and leave it out here",
    ),
    "no decay": ({"optimizer": optim.Rprop, "weight_decay": 0.1}, "has no weight decay; give --weight-decay 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused(name: str) -> None:
    options, message = REFUSED[name]
    assert message in str(catch(settle, **options))


GROUPS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "torch's own": (lambda model: [{"params": model[0].parameters()}], "write ParameterGroup(parameters,"),
    "no list": (lambda model: ParameterGroup(model[0]), "expected a list"),
    "twice": (
        lambda model: [ParameterGroup(model[0]), ParameterGroup(model, name="all")],
        "0.weight is in group 1 and in all",
    ),
    "names": (lambda model: [ParameterGroup(["0.weight"])], "give parameters, not their names"),  # type: ignore[list-item]
    "a tensor": (lambda model: [ParameterGroup(model[0].weight)], "give a list of parameters, or a module"),
    "another model": (lambda model: [ParameterGroup(make_model())], "none of the model's"),
    "below 0": (lambda model: [ParameterGroup(model[0], learning_rate_factor=-1.0)], "from 0 up, got -1.0"),
    "one name": (lambda model: [ParameterGroup(model[0], name="a"), ParameterGroup(model[2], name="a")], "called 'a'"),
}


@pytest.mark.parametrize("name", GROUPS)
def test_groups_that_are_none_are_refused(name: str) -> None:
    groups, message = GROUPS[name]
    assert message in str(catch(settle, GroupedTask(groups)))


def test_a_function_that_loses_the_groups_is_refused() -> None:
    task = GroupedTask(lambda model: [ParameterGroup(model[0], name="body", learning_rate_factor=0.1)])

    def flatten(groups: Any) -> torch.optim.Optimizer:
        return optim.Adam([one for group in groups for one in group["params"]])

    assert "the groups body, rest are lost in it" in str(catch(settle, task, flatten))


def test_two_ways_to_say_the_optimizer_are_refused() -> None:
    assert "--optimizer sgd contradicts optimizer" in str(catch(settle_named, "sgd", optim.Adam))


@pytest.mark.parametrize(
    ("kind", "options", "is_fused"),
    [
        (optim.AdamW, {}, True),
        (functools.partial(optim.SGD, nesterov=True, momentum=0.9), {}, True),
        (optim.AdamW, {"optimizer_options": ["foreach=true"]}, None),
        (optim.AdamW, {"optimizer_options": ["fused=false"]}, False),
        (functools.partial(optim.AdamW, foreach=False), {}, None),
        (optim.NAdam, {}, None),
    ],
)
def test_torch_s_classes_update_a_tensor_in_one_kernel_unless_it_is_said_how(
    kind: Any, options: dict[str, Any], is_fused: bool | None
) -> None:
    config, task, model = TrainingConfig(learning_rate=0.01, **options), GroupedTask(), make_model()
    recipe = settle_optimizer(config.make_recipe(task), task, model, Methods(optimizer=kind), config.own_optimizer)
    maker = OptimizerMaker.of(recipe, task, Methods(optimizer=kind))
    made = maker.make(model, trained_parameters(model), recipe.stages[0])
    assert made.param_groups[0].get("fused") is is_fused

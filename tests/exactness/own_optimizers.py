"""Optimizers, groups of parameters and schedules of a user's, each against a plain PyTorch loop over the same batches."""

from __future__ import annotations

import functools
import json
import socket
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.exactness import start_rank
from slipway.training.batches.order import permute
from slipway.training.common.keyed_random import fold
from slipway.training.config.methods import Methods, ParameterGroup
from slipway.training.config.plan import Plan
from slipway.training.config.recipe import Recipe, Stage
from slipway.training.devices.ranks import Ranks
from slipway.training.devices.world import leave_group
from slipway.training.loop.trainer import Trainer, build_model
from slipway.training.observers.runtime import Runtime
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.tensors import TensorTask

SAMPLES, BATCH, EPOCHS, RATE = 57, 16, 4, 0.01
STEPS_PER_EPOCH = -(-SAMPLES // BATCH)


class Lion(torch.optim.Optimizer):
    """Chen et al., "Symbolic discovery of optimization algorithms", 2023, as people write it: `lr` has no default."""

    def __init__(
        self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["moment"], state["updates"] = torch.zeros_like(parameter), 0
                state["updates"] += 1
                moment = state["moment"]
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                # A smooth sign: the real one turns rounding into steps.
                parameter.add_(torch.tanh(50 * moment.lerp(parameter.grad, 1 - first)), alpha=-group["lr"])
                moment.lerp_(parameter.grad, 1 - second)


def triangle(step: int, num_steps: int) -> float:
    """Rise to the middle of a stage, then fall."""
    return 1.0 - abs(2 * (step + 0.5) / num_steps - 1.0)


def by_layers(model: nn.Module) -> list[ParameterGroup]:
    """Return a head, layers with less of rate and decay the deeper they lie, and no decay on biases and norms."""
    assert isinstance(model, nn.Sequential)
    groups = [ParameterGroup(model[4], name="head", learning_rate_factor=2.0)]
    for depth, layer in enumerate((model[2], model[0]), 1):
        for is_matrix in (True, False):
            groups.append(
                ParameterGroup(
                    [one for one in layer.parameters() if (one.ndim >= 2) == is_matrix],
                    name=f"layer {depth} {is_matrix}",
                    learning_rate_factor=0.5**depth,
                    weight_decay_factor=0.5 if is_matrix else 0.0,
                )
            )
    return groups


class BlobTask(TensorTask):
    """Blobs in eight dimensions, with or without groups of parameters."""

    def __init__(self, groups: bool = False) -> None:
        generator = torch.Generator().manual_seed(3)
        inputs = torch.randn(SAMPLES, 8, generator=generator, dtype=torch.float64)
        super().__init__(make_model, {"train": (inputs, inputs[:, :4].argmax(1))})
        self.groups = groups

    def parameter_groups(self, model: nn.Module) -> list[ParameterGroup] | None:
        return by_layers(model) if self.groups else None


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.LayerNorm(12), nn.Tanh(), nn.Linear(12, 4))


Plain = Callable[[nn.Module], torch.optim.Optimizer]


def two_by_decay(model: nn.Module, decay: float, factors: dict[str, tuple[float, float]] | None = None) -> Any:
    """Return groups as people write them out: all parameters one by one."""
    return [
        {
            "params": [one],
            "lr": RATE * (factors[name.split(".")[0]][0] if factors else 1.0),
            "weight_decay": decay * (factors[name.split(".")[0]][1] if factors and one.ndim >= 2 else one.ndim >= 2),
        }
        for name, one in model.named_parameters()
    ]


_LAYERS = {"4": (2.0, 1.0), "2": (0.5, 0.5), "0": (0.25, 0.5)}


@dataclass(frozen=True, kw_only=True)
class Own:
    """An optimizer as a user gives it, and as a plain loop has it."""

    plain: Plain
    options: dict[str, Any]
    methods: Methods = Methods()
    groups: bool = False


OWN = {
    "AdamW with betas": Own(
        plain=lambda model: torch.optim.AdamW(two_by_decay(model, 0.1), betas=(0.8, 0.95), eps=1e-5),
        options={"betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.1},
    ),
    "SGD with momentum": Own(
        plain=lambda model: torch.optim.SGD(two_by_decay(model, 0.1), momentum=0.7),
        options={"optimizer": "sgd", "momentum": 0.7, "weight_decay": 0.1},
    ),
    "SGD by Nesterov": Own(
        plain=lambda model: torch.optim.SGD(two_by_decay(model, 0.05), momentum=0.9, nesterov=True),
        options={"optimizer": "sgd", "optimizer_options": ("nesterov=true",), "weight_decay": 0.05},
    ),
    "RMSprop by name": Own(
        plain=lambda model: torch.optim.RMSprop(model.parameters(), lr=RATE, alpha=0.9, momentum=0.5, eps=1e-4),
        options={"optimizer": "rmsprop", "momentum": 0.5, "eps": 1e-4, "optimizer_options": ("alpha=0.9",)},
    ),
    "NAdam, a class": Own(
        plain=lambda model: torch.optim.NAdam(model.parameters(), lr=RATE, eps=1e-4, weight_decay=0.1),
        options={"weight_decay": 0.1, "eps": 1e-4},
        methods=Methods(optimizer=torch.optim.NAdam),
    ),
    "AdamW with its own decay, a function": Own(
        plain=lambda model: torch.optim.AdamW(model.parameters(), lr=RATE, eps=1e-5, amsgrad=True),
        options={},
        methods=Methods(optimizer=lambda groups: torch.optim.AdamW(groups, eps=1e-5, amsgrad=True)),
    ),
    "Lion": Own(plain=lambda model: Lion(model.parameters(), lr=RATE), options={}, methods=Methods(optimizer=Lion)),
    "Lion in layers": Own(
        plain=lambda model: Lion(
            [
                {**group, "weight_decay": group["weight_decay"] or (0.1 if group["lr"] == 2 * RATE else 0.0)}
                for group in two_by_decay(model, 0.1, _LAYERS)
            ],
            lr=RATE,
            betas=(0.8, 0.9),
        ),
        options={"weight_decay": 0.1},
        methods=Methods(optimizer=functools.partial(Lion, betas=(0.8, 0.9))),
        groups=True,
    ),
    "AdamW in layers": Own(
        plain=lambda model: torch.optim.AdamW(two_by_decay(model, 0.1, _LAYERS), betas=(0.9, 0.99), eps=1e-6),
        options={"weight_decay": 0.1},
        groups=True,
    ),
    "own schedule": Own(
        plain=lambda model: torch.optim.Adam(model.parameters(), lr=RATE, eps=1e-4),
        options={"eps": 1e-4},
        methods=Methods(optimizer=torch.optim.Adam, schedule=triangle),
    ),
}


def recipe_of(own: Own) -> Recipe:
    """Return the recipe of a single stage, its rates constant."""
    config = TrainingConfig(
        batch_size=BATCH, learning_rate=RATE, precision="float64", batch_rule="fixed", **own.options
    )
    recipe = config.make_recipe()
    decay = own.options.get("weight_decay", 0.0)
    stage = Stage(name="only", epochs=EPOCHS, schedule="constant", warmup_epochs=0, weight_decay=decay)
    asked = config.own_optimizer if own.methods.optimizer is not None else recipe.own_optimizer
    return replace(recipe, stages=(stage,), own_optimizer=asked).resolve(1, "no")


def train_plain(own: Own) -> torch.Tensor:
    """Return the weights after a plain PyTorch loop."""
    recipe, task = recipe_of(own), BlobTask()
    model = build_model(task, recipe)
    optimizer = own.plain(model)
    rates = [group["lr"] for group in optimizer.param_groups]
    for step in range(EPOCHS * STEPS_PER_EPOCH):
        epoch, start = step // STEPS_PER_EPOCH, step % STEPS_PER_EPOCH * BATCH
        indices = permute(np.arange(SAMPLES), SAMPLES, fold(recipe.seed, epoch))[start : start + BATCH]
        batch = task.fetch("train", torch.from_numpy(indices))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch["inputs"]), batch["labels"]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        factor = triangle(step, EPOCHS * STEPS_PER_EPOCH) if own.methods.schedule else 1.0
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        optimizer.step()
    return flatten(model.parameters())


def flatten(parameters: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return all parameters as one vector."""
    return torch.cat([one.detach().flatten() for one in parameters]).clone()


def train_here(own: Own, ranks: Ranks, micro_batch_size: int, shares: tuple[float, ...], queues: bool) -> torch.Tensor:
    """Return the weights that a plan reaches."""
    plan = replace(Plan.alone(), world_size=ranks.size, micro_batch_size=micro_batch_size, share_weights=shares)
    trainer = Trainer(
        task=BlobTask(own.groups),
        recipe=recipe_of(own),
        plan=plan,
        runtime=Runtime(ranks=ranks, queues_steps=queues),
        methods=own.methods,
    )
    trainer.run()
    return flatten(trainer.model.parameters())


def work(rank: int, world_size: int, port: int, output: str) -> None:
    """Train with every optimizer as one rank of a group; rank 0 writes how far it is from a plain loop."""
    ranks = start_rank(rank, world_size, port)
    found = {}
    for name, own in OWN.items():
        expected = train_plain(own)
        first = flatten(build_model(BlobTask(), recipe_of(own)).parameters())
        for queues, micro_batch_size, shares in (
            (False, 16, (1.0,) * world_size),
            (True, 3, tuple(range(3, 3 + world_size))),
            (False, 5, (0.0, *(1.0,) * (world_size - 1)) if world_size > 1 else (1.0,)),
        ):
            weights = train_here(own, ranks, micro_batch_size, shares, queues)
            largest = expected.abs().max()
            found[f"{name}, {micro_batch_size}, {shares}"] = (
                float((weights - expected).abs().max() / largest),
                float((expected - first).abs().max() / largest),
            )
    if rank == 0:
        Path(output).write_text(json.dumps(found), encoding="utf-8")
    leave_group()


def measure(world_size: int) -> dict[str, tuple[float, float]]:
    """Return for each optimizer and plan how far its weights are from a plain loop's, and how far they moved."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder) / "found.json")
        torch.multiprocessing.start_processes(work, (world_size, port, output), nprocs=world_size, start_method="spawn")
        return json.loads(Path(output).read_text(encoding="utf-8"))

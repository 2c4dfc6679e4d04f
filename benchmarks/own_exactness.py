"""Data sets, optimizers, groups of parameters and schedules of a user's, each against a plain PyTorch loop.

All in float64 over the same batches, for shares that are even, uneven, and empty on a rank. A part of `make exactness`.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import nn

from benchmarks.process_groups import in_process_group, start_rank, write_result
from slipway.training.batches.order import permute
from slipway.training.common.keyed_random import fold, sample_keys
from slipway.training.config.methods import Methods, ParameterGroup
from slipway.training.config.plan import Plan
from slipway.training.config.recipe import Recipe, Stage
from slipway.training.devices.ranks import Ranks
from slipway.training.devices.world import leave_group
from slipway.training.loop.trainer import Trainer, build_model
from slipway.training.observers.runtime import Runtime
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.dataset_task import DatasetTask
from slipway.training.tasks.samples.random_state import kept_generators, seed_generators
from slipway.training.tasks.task import Task
from slipway.training.tasks.tensors import TensorTask

SAMPLES, BATCH, EPOCHS, RATE = 57, 16, 4, 0.01
STEPS_PER_EPOCH = -(-SAMPLES // BATCH)
BOUND = 1e-10


class Lion(torch.optim.Optimizer):
    """Chen et al., "Symbolic discovery of optimization algorithms", 2023, as people write it: `lr` has no default."""

    def __init__(
        self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all parameters."""
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


def _normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def _layers() -> list[nn.Module]:
    return [nn.Linear(8, 12), nn.Tanh(), nn.LayerNorm(12), nn.Tanh(), nn.Linear(12, 4)]


class BlobTask(TensorTask):
    """Blobs in eight dimensions, with or without groups of parameters."""

    def __init__(self, groups: bool = False) -> None:
        inputs = _normal(SAMPLES, 8)
        super().__init__(lambda: nn.Sequential(*_layers()), {"train": (inputs, inputs[:, :4].argmax(1))})
        self.groups = groups

    def parameter_groups(self, model: nn.Module) -> list[ParameterGroup] | None:
        """Return the layers' groups, or none."""
        return by_layers(model) if self.groups else None


class Paths(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Sequences of different lengths, changed at random by all three generators, as people write it."""

    def __init__(self) -> None:
        self.steps = _normal(SAMPLES, 9, 8)

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        steps = self.steps[index, : 3 + index % 7]
        changed = steps + 0.3 * torch.randn_like(steps) + np.random.normal()
        return changed.flip(0) if random.random() < 0.5 else changed[1:], int(steps.mean(0)[:4].argmax())


def pad(samples: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return sequences padded to the longest, [samples, steps, 8], their lengths and their classes."""
    steps, labels = zip(*samples, strict=True)
    lengths = torch.tensor([len(one) for one in steps])
    return nn.utils.rnn.pad_sequence(list(steps), batch_first=True), lengths, torch.tensor(labels)


class Pooling(nn.Sequential):
    """The mean of a sequence's steps, then layers."""

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Return scores, [samples, 4], of padded sequences."""
        return super().forward(steps.sum(1) / lengths[:, None])


CLASS_WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)


class PathTask(DatasetTask):
    """A data set that draws, padded by a function of the user's, in a loss with class weights."""

    def __init__(self, groups: bool = False) -> None:
        loss = nn.CrossEntropyLoss(weight=CLASS_WEIGHTS)
        super().__init__(lambda: Pooling(*_layers()), Paths(), collate_fn=pad, loss=loss)
        self.groups = groups

    def parameter_groups(self, model: nn.Module) -> list[ParameterGroup] | None:
        """Return the layers' groups, or none."""
        return by_layers(model) if self.groups else None


def blob_batch(indices: np.ndarray, keys: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return a batch of `BlobTask` as a plain loop has it."""
    inputs = _normal(SAMPLES, 8)[indices]
    return inputs, inputs[:, :4].argmax(1)


def path_batch(indices: np.ndarray, keys: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return a batch of `PathTask` as a plain loop has it that seeds the generators for each sample."""
    dataset, samples = Paths(), []
    with kept_generators():
        for index, key in zip(indices.tolist(), keys.tolist(), strict=True):
            seed_generators(key)
            samples.append(dataset[index])
    return pad(samples)


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
    task: Callable[[bool], Task] = BlobTask
    batch: Callable[[np.ndarray, torch.Tensor], tuple[torch.Tensor, ...]] = blob_batch
    class_weights: torch.Tensor | None = None


_PATHS: dict[str, Any] = {"task": PathTask, "batch": path_batch, "class_weights": CLASS_WEIGHTS}


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
"""By name, on tensors."""

ON_DATA_SETS = {
    f"a data set that draws, {name}": replace(OWN[name], **_PATHS)
    for name in ("AdamW with betas", "SGD with momentum", "AdamW with its own decay, a function", "Lion in layers")
}
ALL = OWN | ON_DATA_SETS


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
    recipe = recipe_of(own)
    model = build_model(own.task(False), recipe)
    optimizer = own.plain(model)
    rates = [group["lr"] for group in optimizer.param_groups]
    for step in range(EPOCHS * STEPS_PER_EPOCH):
        epoch, start = step // STEPS_PER_EPOCH, step % STEPS_PER_EPOCH * BATCH
        indices = permute(np.arange(SAMPLES), SAMPLES, fold(recipe.seed, epoch))[start : start + BATCH]
        *inputs, labels = own.batch(indices, sample_keys(recipe.seed, epoch, indices))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(*inputs), labels, own.class_weights).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        factor = triangle(step, EPOCHS * STEPS_PER_EPOCH) if own.methods.schedule else 1.0
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        optimizer.step()
    return flatten(model.parameters())


def flatten(parameters: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return all parameters as one vector."""
    return torch.cat([one.detach().flatten() for one in parameters]).clone()


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How steps are cut: micro-batches, shares, and whether they are queued, as on a GPU."""

    micro_batch_size: int
    shares: tuple[float, ...]
    queues: bool = False
    reduction: str = "flat"
    num_workers: int = 0


def cuts_for(world_size: int) -> dict[str, Cut]:
    """Return the ways to cut the steps of a world of this size."""
    last = (0.0, *(1.0,) * (world_size - 1)) if world_size > 1 else (1.0,)
    return {
        "even": Cut(micro_batch_size=16, shares=(1.0,) * world_size),
        "uneven": Cut(micro_batch_size=3, shares=tuple(range(3, 3 + world_size)), queues=True, num_workers=1),
        "empty": Cut(micro_batch_size=5, shares=last, reduction="overlap" if world_size > 1 else "flat"),
    }


def train_here(own: Own, ranks: Ranks, cut: Cut) -> torch.Tensor:
    """Return the weights that a plan reaches."""
    plan = replace(
        Plan.alone(),
        world_size=ranks.size,
        micro_batch_size=cut.micro_batch_size,
        share_weights=cut.shares,
        reduction=cut.reduction,  # type: ignore[arg-type]
        num_workers=cut.num_workers,
    )
    trainer = Trainer(
        task=own.task(own.groups),
        recipe=recipe_of(own),
        plan=plan,
        runtime=Runtime(ranks=ranks, queues_steps=cut.queues),
        methods=own.methods,
    )
    try:
        trainer.run()
    finally:
        trainer.loader.close()
    return flatten(trainer.model.parameters())


def work(rank: int, world_size: int, port: int, output: str, names: list[str], cuts: list[str]) -> None:
    """Train each as one rank of a group; rank 0 writes how far it is from a plain loop."""
    ranks = start_rank(rank, world_size, port)
    found = []
    for name, own in ((name, ALL[name]) for name in names):
        expected = train_plain(own)
        first = flatten(build_model(own.task(False), recipe_of(own)).parameters())
        for shares, cut in cuts_for(world_size).items():
            if shares in cuts:
                largest = expected.abs().max()
                apart, moved = ((one - expected).abs().max() / largest for one in (train_here(own, ranks, cut), first))
                found.append(
                    {
                        "world_size": world_size,
                        "what": name,
                        "shares": shares,
                        "micro_batch_size": cut.micro_batch_size,
                        "difference": float(apart),
                        "moved": float(moved),
                    }
                )
    write_result(output, found, ranks)
    leave_group()


def measure(
    world_size: int, cuts: Iterable[str] = ("even", "uneven", "empty"), names: Iterable[str] = tuple(ALL)
) -> list[dict[str, Any]]:
    """Return for each way to train and each cut how far the weights are from a plain loop's, and how far they moved."""
    return in_process_group(work, world_size, list(names), list(cuts))


def draw(rows: list[dict[str, Any]]) -> Table:
    """Return the rows as a table."""
    table = Table(
        title=f"the same with what a user brings, float64, {EPOCHS * STEPS_PER_EPOCH} steps, bound {BOUND:.0e}"
    )
    for name in ("processes", "what", "shares", "micro-batch", "difference", "moved"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for row in rows:
        table.add_row(
            str(row["world_size"]),
            row["what"],
            row["shares"],
            str(row["micro_batch_size"]),
            f"{row['difference']:.1e}",
            f"{row['moved']:.2f}",
            style=None if row["difference"] <= BOUND else "bold red",
        )
    return table

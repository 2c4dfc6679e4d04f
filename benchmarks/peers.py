"""The same training of a tiny MLP by hand, by four other libraries and by Slipway: equal weights at the end.

Each function trains one epoch and returns the weights. The peers have their logging, checkpoints and progress bars off
and are otherwise as they come; Slipway has its journal and its progress lines on. `order` names the samples in the order
in which they are trained on; without it the loop shuffles them its own way.

    python -m benchmarks.peers "plain PyTorch"      answers requests on stdin: see `workers.serve`
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from benchmarks.measure import Clock
from benchmarks.slipway_side import flatten, train_with_slipway
from benchmarks.workers import serve
from slipway.training.batches.order import Order
from slipway.training.config.plan import Plan
from slipway.training.devices.ranks import Ranks
from slipway.training.run.training_config import TrainingConfig
from slipway.training.tasks.tensors import TensorTask

BATCH_SIZE, NUM_FEATURES, NUM_CLASSES = 32, 64, 10
LEARNING_RATE, BETAS, EPS = 2e-3, (0.9, 0.99), 1e-6
SEED = 0
"""Of Slipway's order, which the others follow where weights are compared."""

Samples = tuple[torch.Tensor, torch.Tensor]


def make_model() -> nn.Module:
    """Return the tiny model, 9,610 parameters, always with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        return nn.Sequential(nn.Linear(NUM_FEATURES, 128), nn.ReLU(), nn.Linear(128, NUM_CLASSES))


def make_data(steps: int) -> Samples:
    """Return inputs and labels for an epoch of that many steps."""
    generator = torch.Generator().manual_seed(SEED)
    count = steps * BATCH_SIZE
    inputs = torch.randn(count, NUM_FEATURES, generator=generator)
    return inputs, torch.randint(NUM_CLASSES, (count,), generator=generator)


def slipway_order(steps: int) -> list[int]:
    """Return the order in which Slipway trains on `make_data(steps)`."""
    return Order(seed=SEED, num_samples=steps * BATCH_SIZE).indices(0, 0, steps * BATCH_SIZE).tolist()


def _optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=BETAS, eps=EPS, weight_decay=0.0)


def _loader(samples: Samples, order: Sequence[int] | None) -> DataLoader[Any]:
    dataset = TensorDataset(*samples)
    if order is None:
        return DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True)
    return DataLoader(dataset, batch_size=BATCH_SIZE, sampler=order)


def train_plain(samples: Samples, order: Sequence[int] | None) -> torch.Tensor:
    """Train with the loop of PyTorch's tutorials."""
    model = make_model()
    optimizer = _optimizer(model)
    for inputs, labels in _loader(samples, order):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return flatten(model)


def train_accelerate(samples: Samples, order: Sequence[int] | None) -> torch.Tensor:
    """Train with the loop of Accelerate's documentation."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = make_model()
    model, optimizer, loader = accelerator.prepare(model, _optimizer(model), _loader(samples, order))
    for inputs, labels in loader:
        optimizer.zero_grad()
        accelerator.backward(nn.functional.cross_entropy(model(inputs), labels))
        optimizer.step()
    return flatten(model)


def train_ignite(samples: Samples, order: Sequence[int] | None) -> torch.Tensor:
    """Train with Ignite's supervised trainer."""
    engine: Any = importlib.import_module("ignite.engine")
    model = make_model()
    trainer = engine.create_supervised_trainer(model, _optimizer(model), nn.functional.cross_entropy)
    trainer.run(_loader(samples, order), max_epochs=1)
    return flatten(model)


def train_lightning(samples: Samples, order: Sequence[int] | None) -> torch.Tensor:
    """Train with Lightning's trainer."""
    lightning: Any = importlib.import_module("lightning.pytorch")
    model = make_model()

    def training_step(module: Any, batch: Samples, number: int) -> torch.Tensor:
        inputs, labels = batch
        return nn.functional.cross_entropy(module.model(inputs), labels)

    methods = {"training_step": training_step, "configure_optimizers": lambda module: _optimizer(module.model)}
    module = type("TinyModule", (lightning.LightningModule,), methods)()
    module.model = model
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, _loader(samples, order))
    return flatten(model)


class _RowDataset(Dataset[dict[str, torch.Tensor]]):
    """Rows as Hugging Face's trainer takes them."""

    def __init__(self, samples: Samples) -> None:
        self._inputs, self._labels = samples

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"inputs": self._inputs[index], "labels": self._labels[index]}


class _ModelWithLoss(nn.Module):
    """The tiny model with its loss, as Hugging Face's trainer takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = make_model()

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.model(inputs)
        return {"loss": nn.functional.cross_entropy(scores, labels), "logits": scores}


def train_transformers(samples: Samples, order: Sequence[int] | None) -> torch.Tensor:
    """Train with Hugging Face's trainer."""
    transformers: Any = importlib.import_module("transformers")
    model = _ModelWithLoss()
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            adam_beta1=BETAS[0],
            adam_beta2=BETAS[1],
            adam_epsilon=EPS,
            max_grad_norm=0.0,
            lr_scheduler_type="constant",
            use_cpu=True,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = transformers.Trainer(model=model, args=arguments, train_dataset=_RowDataset(samples))
        if order is not None:
            trainer._get_train_sampler = lambda *_: order
        trainer.train()
    return flatten(model)


def train_slipway(samples: Samples, order: Sequence[int] | None) -> torch.Tensor:
    """Train with Slipway, whose order is always that of its seed."""
    config = TrainingConfig(
        stages_config="minimal",
        epochs=1,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        clip_norm=0.0,
        weight_decay=0.0,
        schedule="constant",
        warmup_epochs=0.0,
        seed=SEED,
    )
    recipe = config.make_recipe().resolve(1, "no")
    recipe = replace(recipe, stages=(replace(recipe.stages[0], options=None),))
    task = TensorTask(make_model, {"train": samples}, keyed_randomness=True)
    plan = replace(Plan.alone(), micro_batch_size=BATCH_SIZE)
    return train_with_slipway(task, recipe, plan, Ranks.alone()).weights


LOOPS: dict[str, tuple[str, Callable[[Samples, Sequence[int] | None], torch.Tensor]]] = {
    "plain PyTorch": ("torch", train_plain),
    "Accelerate": ("accelerate", train_accelerate),
    "Ignite": ("ignite", train_ignite),
    "Lightning": ("lightning", train_lightning),
    "HF Trainer": ("transformers", train_transformers),
    "Slipway": ("training", train_slipway),
}
"""By name: the package that is needed, and the loop."""


def available_loops() -> list[str]:
    """Return the names of the loops whose package is installed."""
    return [name for name, (package, _) in LOOPS.items() if importlib.util.find_spec(package)]


def main() -> None:
    """Answer requests: `steps` to train for, and whether in Slipway's order; the answer has the cost and the weights."""
    _, train = LOOPS[sys.argv[1]]
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        steps = request["steps"]
        samples, order = make_data(steps), slipway_order(steps) if request["ordered"] else None
        clock = Clock()
        weights = train(samples, order)
        cost = clock.read()
        return {"wall_seconds": cost.wall_seconds, "cpu_seconds": cost.cpu_seconds, "weights": weights.tolist()}

    serve(answer)


if __name__ == "__main__":
    main()

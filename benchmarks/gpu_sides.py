"""The two sides of the GPU benchmark, a loop by hand and Slipway's: the same model, batches and update, on one device.

Their batches are on the device before the clock starts, so that only the loops differ. The loop by hand is the fastest that
one would write: it never asks the device for anything, not even for its loss.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.measure import Clock, Cost
from benchmarks.sign_loops import equal_clips
from slipway.training.batches.class_order import make_order
from slipway.training.batches.loader import Loader
from slipway.training.batches.sampler import EpochSampler, StepWork
from slipway.training.common.keyed_random import fold
from slipway.training.config.plan import Plan
from slipway.training.config.recipe import MixedPrecision, OptimizerSpec, Recipe, Stage, TaskSpec
from slipway.training.data.prepared.store import RaggedStore
from slipway.training.devices.memory import synchronise
from slipway.training.devices.ranks import Ranks
from slipway.training.loop.trainer import MODEL_STREAM, Trainer
from slipway.training.observers.events import Observer, Observers, StepEnd
from slipway.training.observers.journal import Journal
from slipway.training.observers.profiling.sections import UNMARKED, Sections
from slipway.training.observers.runtime import Runtime
from slipway.training.observers.screen.console import make_console_observer
from slipway.training.run.announce import announce_run
from slipway.training.tasks.sign.options import ModelSpec
from slipway.training.tasks.sign.task import SignTask
from slipway.training.tasks.task import Batch, Task
from slipway.training.tasks.tensors import TensorTask

NUM_FEATURES, NUM_CLASSES = 192, 100
"""Of the encoder's tokens, and what it tells apart."""

_MANY_EPOCHS = 10_000
"""A round is an epoch; the learning rate is constant, so that it does not matter how many there are."""

_MEDIAN_FRAMES, _SPREAD, _SHORTEST, _LONGEST = 32.0, 0.5, 8, 128
"""Of sign clips: log-normal, with the spread of the logarithm."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained."""

    model: Literal["encoder", "sign"]
    """Layers over sequences of one length, or the bundled sign model on clips of different lengths."""
    width: int
    blocks: int
    heads: int
    tokens: int = 1
    """In a sequence of the encoder."""
    batch_size: int
    """The global batch, and of the loop by hand the micro-batch."""
    steps: int
    """In a round."""
    mixed_precision: MixedPrecision
    backend: str | None
    """Of torch.compile; none: the model runs as written."""


class Layer(nn.Module):
    """Pre-norm attention and feed-forward. Keys carry no bias: its true gradient is zero, and Adam acts on the rounding."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_value, self.key = nn.Linear(width, 2 * width), nn.Linear(width, width, bias=False)
        self.merge = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """`inputs` is [samples, tokens, width], and so is what is returned."""
        samples, tokens, width = inputs.shape
        normed = self.attention_norm(inputs)
        query, value = self.query_value(normed).chunk(2, dim=-1)
        heads = [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, self.key(normed), value)]
        attended = F.scaled_dot_product_attention(*heads).transpose(1, 2).reshape(samples, tokens, width)
        hidden = inputs + self.merge(attended)
        return hidden + self.feed_forward(self.feed_forward_norm(hidden))


class SequenceEncoder(nn.Module):
    """A plain transformer encoder over sequences of one length, such as an image's patches, to class scores."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.stem = nn.Linear(NUM_FEATURES, case.width)
        self.places = nn.Parameter(0.02 * torch.randn(case.tokens, case.width))
        self.layers = nn.Sequential(*(Layer(case.width, case.heads) for _ in range(case.blocks)))
        self.norm = nn.LayerNorm(case.width)
        self.head = nn.Linear(case.width, NUM_CLASSES)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return scores [samples, classes] of `inputs` [samples, tokens, features]."""
        return self.head(self.norm(self.layers(self.stem(inputs) + self.places)).mean(dim=1))


def make_task(case: Case) -> Task:
    """Return a task with the samples of one round."""
    count = case.steps * case.batch_size
    if case.model == "sign":
        return _sign_task(case, count)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, case.tokens, NUM_FEATURES, generator=generator)
    splits = {"train": (inputs, torch.arange(count) % NUM_CLASSES)}
    return TensorTask(partial(SequenceEncoder, case), splits, keyed_randomness=True)


def _sign_task(case: Case, count: int) -> Task:
    drawn = np.random.default_rng(0).lognormal(np.log(_MEDIAN_FRAMES), _SPREAD, count)
    lengths = np.clip(drawn.round(), _SHORTEST, _LONGEST).astype(np.int64)
    data = equal_clips(count, 1).data
    shape = (int(lengths.sum()), *data.store.values.shape[1:])
    store = RaggedStore(
        values=torch.randn(shape, generator=torch.Generator().manual_seed(0)),
        offsets=torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)])),
        labels=data.store.labels,
    )
    return SignTask(replace(data, store=store), ModelSpec(width=case.width, blocks=case.blocks, heads=case.heads))


def make_recipe(case: Case, *, epochs: int = _MANY_EPOCHS) -> Recipe:
    """Return a recipe of one stage with AdamW, clipping and a constant learning rate."""
    stage = Stage(name="benchmark", epochs=epochs, schedule="constant", warmup_epochs=0.0)
    optimizer = OptimizerSpec(learning_rate=3e-4, clip_norm=1.0)
    recipe = Recipe(task=TaskSpec(name="benchmark"), optimizer=optimizer, stages=(stage,), batch_size=case.batch_size)
    return recipe.resolve(1, case.mixed_precision)


class ResidentLoader(Loader):
    """Hands out batches that are on the device already: those of the first epoch, in every epoch."""

    def __init__(self, task: Task, device: torch.device) -> None:
        super().__init__(task, seed=0, dtype=torch.float32, device=device)
        self._held: dict[tuple[int, ...], list[Batch]] = {}

    def steps(self, works: Iterable[StepWork], epoch: int, stage: Stage) -> Iterator[tuple[StepWork, Iterator[Batch]]]:
        """Yield each step's work with its batches."""
        for work in works:
            yield work, iter(self.batches(work, stage))

    def batches(self, work: StepWork, stage: Stage) -> list[Batch]:
        """Return the micro-batches of a step, as it was first asked for in this cut."""
        key = (work.step_in_epoch, *map(len, work.micro_batches))
        if key not in self._held:
            self._held[key] = [self.training_batch(part, 0, stage) for part in work.micro_batches]
        return self._held[key]


def resident_batches(case: Case, task: Task, device: torch.device) -> list[Batch]:
    """Return the global batch of each step of a round on the device: the same, in the same order, as Slipway computes."""
    recipe, loader = make_recipe(case), ResidentLoader(task, device)
    sampler = EpochSampler(
        order=make_order(recipe, task),
        costs=task.costs("train"),
        global_batch_size=case.batch_size,
        rank=0,
        share_weights=(1.0,),
        micro_batch_size=lambda: case.batch_size,
    )
    return [batch for work in sampler.epoch(0) for batch in loader.batches(work, recipe.stages[0])]


class ResidentTrainer(Trainer):
    """A trainer whose batches are on the device already."""

    def make_loader(self, dtype: torch.dtype) -> Loader:
        """Return the loader that keeps them there."""
        return ResidentLoader(self.task, self.runtime.ranks.device)


class _LastLosses(Observer):
    """Keeps the losses since it was last emptied."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_step(self, event: StepEnd) -> None:
        self.losses.append(event.loss)


class Slipway:
    """Slipway's trainer, made once and driven an epoch at a time, with the journal and the lines of progress of a run."""

    def __init__(
        self,
        case: Case,
        task: Task,
        device: torch.device,
        *,
        micro_batch_size: int | None,
        num_workers: int | None = None,
        sections: Sections = UNMARKED,
        queues_steps: bool | None = None,
    ) -> None:
        """Without `num_workers` the batches are on the device already; without a micro-batch size one is looked for."""
        self.device = device
        self.recipe = make_recipe(case)
        self.stage = self.recipe.stages[0]
        self._told = _LastLosses()
        self._given_size = micro_batch_size
        self._folder = tempfile.TemporaryDirectory()
        console = make_console_observer(log_level="info", stream_is_terminal=False)
        self._observers = Observers([console, Journal(Path(self._folder.name) / "events.jsonl"), self._told])
        plan = replace(
            Plan.alone(device.type),
            micro_batch_size=micro_batch_size,
            compile_backend=case.backend,
            num_workers=num_workers or 0,
            threads_per_process=torch.get_num_threads(),
        )
        cache = str(Path(self._folder.name) / "cache")
        with patch.dict(os.environ, XDG_CACHE_HOME=cache):  # nothing is remembered of micro-batch sizes
            self.trainer = (ResidentTrainer if num_workers is None else Trainer)(
                task=task,
                recipe=self.recipe,
                plan=plan,
                runtime=Runtime(
                    ranks=Ranks.alone(device),
                    observer=self._observers,
                    sections=sections,
                    queues_steps=queues_steps,
                ),
            )
        self.loop = self.trainer.loop
        self._rounds = 0
        announce_run(self.trainer, "benchmark")
        started = time.perf_counter()
        self.trainer.begin_stage(0, self.stage)
        self.search_seconds = time.perf_counter() - started
        """What finding a micro-batch size took, where none was given."""

    @property
    def losses(self) -> list[float]:
        """The losses of the last round."""
        return self._told.losses

    def run(self) -> Cost:
        """Do the steps of a round. Raises `RuntimeError` where the given micro-batch size does not fit."""
        progress = self.trainer.progress
        progress.epoch_in_stage, progress.step_in_epoch = self._rounds, 0
        progress.begin_epoch()
        self._told.losses.clear()
        synchronise(self.device)
        clock = Clock()
        self.loop.run_epoch(self.stage, self._rounds)
        synchronise(self.device)
        cost = clock.read()
        self._rounds += 1
        if self._given_size is not None and self.trainer.state.limit.limit < self._given_size:
            raise RuntimeError(f"micro-batches of {self._given_size} do not fit in this device's memory")
        return cost

    def close(self) -> None:
        """End its threads and give up its files."""
        self.trainer.loader.close()
        self._observers.close()
        self._folder.cleanup()


class ByHand:
    """The loop by hand: autocast, a compiled model, fused AdamW in two groups, clipping, gradients set to none."""

    def __init__(self, case: Case, task: Task, device: torch.device, batches: list[Batch]) -> None:
        recipe = make_recipe(case)
        stage, spec = recipe.stages[0], recipe.optimizer
        torch.manual_seed(fold(recipe.seed, MODEL_STREAM) % 2**63)
        model = task.build_model().to(device)
        task.begin_stage(model, stage)
        model.train()
        self._is_sign = case.model == "sign"
        self._forward = cast(Any, model).score_rows if self._is_sign else model
        if case.backend is not None:
            dynamic = True if self._is_sign else None
            self._forward = torch.compile(self._forward, backend=case.backend, dynamic=dynamic)
        self._parameters = list(model.parameters())
        groups = [
            {"params": [p for p in self._parameters if p.ndim >= 2], "weight_decay": stage.weight_decay},
            {"params": [p for p in self._parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self._clip_norm = spec.clip_norm or torch.inf
        self._optimizer = torch.optim.AdamW(
            groups, lr=spec.learning_rate, betas=(spec.beta1, spec.beta2), eps=spec.eps, fused=True
        )
        self._device, self._batches = device, batches
        self._is_mixed = case.mixed_precision == "bf16"
        self.losses: list[float] = []
        """Of the last round."""

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self._device.type, dtype=torch.bfloat16) if self._is_mixed else nullcontext()

    def _loss(self, batch: Batch) -> torch.Tensor:
        tensors = batch.tensors
        if self._is_sign:
            outputs = self._forward(tensors["landmarks"], tensors["lengths"], tensors["real"], batch.keys)
        else:
            outputs = self._forward(tensors["inputs"])
        return F.cross_entropy(outputs, tensors["labels"])

    def run(self) -> Cost:
        """Do the steps of a round."""
        losses = []
        synchronise(self._device)
        clock = Clock()
        for batch in self._batches:
            with self._autocast():
                loss = self._loss(batch)
            loss.backward()
            nn.utils.clip_grad_norm_(self._parameters, self._clip_norm, foreach=True)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            losses.append(loss.detach())
        synchronise(self._device)
        cost = clock.read()
        self.losses = torch.stack(losses).tolist()
        return cost
